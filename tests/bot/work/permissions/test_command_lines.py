"""A table of command lines by hand: what the rules make of each, and what they must never make of it (C2)."""

from __future__ import annotations

import time

import pytest

from acp.schema import ToolCallUpdate
from bot.work.permissions.asks import ask_of
from bot.work.permissions.command_lines import runs_of, script_of
from bot.work.permissions.command_patterns import Match, may_fit, pattern_for, pattern_of
from bot.work.permissions.rules import Mode, Rule, Rules, Ruling, verdict

RULES = Rules(
    allow=tuple(
        Rule(command=pattern)
        for pattern in (
            "git status*",
            "git log *",
            "npm test",
            "npm run *",
            "cat *",
            "echo *",
            "find *",
            "ls *",
            "printf *",
            "sudo systemctl restart web",
            "bash -c 'make all'",
            "timeout 60 npm test",
            "env *",
            "xargs *",
            "python -m pytest *",
            "grep -n *",
            "git commit -m *",
            "./run.sh ?",
        )
    ),
    deny=(Rule(command="git push*"), Rule(command="rm -rf*"), Rule(command="curl *")),
)

ALLOWED = r"""
git status
git status --short
git  status   -s
 git status
'git' status
git "status"
g'i't st"at"us
git status --porcelain=v2
git status src/app.py
git status 'a b'
git status "it's"
git status 'say "hi"'
git status ''
git status 'a;b'
git status 'a && b'
git status "a|b"
git status '$(id)'
git status '`id`'
git status '$HOME'
git status '*.py'
git status "*.py"
git status '~'
git status '#x'
git status "#x"
git status '{a,b}'
git status a=b
git status -- src
git status @
git status 100%
git status a,b
git status +x
git status :/
git log origin/main..HEAD
git log --oneline -5
git commit -m 'Say why'
git commit -m "Say why; and how"
git commit -m 'never git push or rm -rf here'
npm test
npm run test:unit
npm run build -- --watch=false
cat README.md
cat a b c
echo hello
echo if
echo sudo
echo 'rm -rf /'
echo git push
find . -name '*.py'
find . -type f
ls -la
ls /etc
sudo systemctl restart web
sudo 'systemctl' restart web
bash -c 'make all'
bash -c "make all"
timeout 60 npm test
python -m pytest tests
grep -n 'x | y' file
./run.sh 1
grep -n
cat
npm run
python -m pytest
git status 'hey!'
git log push
"""

ASKED = r"""
git
git stash
git diff
git -c core.pager=less status
/usr/bin/git status
./git status
GIT status
status git
npm test --watch
npm tests
npm install
ls > files
cat < a
cat a > b
cat a >> b
cat a 2> b
cat a 2>&1
cat a &> b
cat a >| b
cat <> a
cat a | less
cat a | grep b | wc -l
git status; ls
git status ;
git status;
git status && ls
git status || ls
git status & ls
git status &
(git status)
{ git status; }
! git status
git status | cat
git status |& cat
if git status; then ls; fi
while git status; do ls; done
for x in a b; do cat x; done
[ -f a ] && cat a
[[ -f a && -f b ]]
git status $HOME
git status "$HOME"
git status ${HOME}
git status $1 $@ $# $? $! $$ $-
git status $(date)
git status "$(date)"
git status `date`
git status "`date`"
git status $((1+2))
git status $'a'
git status $"a"
git status <(ls)
git status >(ls)
git status *.py
git status a?
git status [ab]
git status ~
git status ~/x
git status {a,b}
git status a{1..3}
git status a\ b
git status \
git\ status
git status \;
git status "a\"b"
git status 'a\'
git status # why
# git status
git status !x
git status "hey!"
git status ^a
git status 'a
git status "a
git status a'b"c
git status HEAD~1
git status HEAD^
git status =ls
git status %1
X=1 git status
X=1 Y=2 git status
X= git status
X+=1 git status
X=1
PATH=/tmp git status
LD_PRELOAD=./x.so git status
'X=1' git status
env git status
env X=1 git status
env
sudo git status
sudo systemctl restart web now
sudo systemctl restart 'w'?b
doas git status
command git status
builtin echo x
exec git status
nohup git status
nice -n 5 git status
time git status
timeout 61 npm test
stdbuf -o0 git status
setsid git status
find . -exec cat {} +
find . -exec cat '{}' ';'
find . -name x -delete
find . -ok cat '{}' ';'
find . -fprintf a b
bash -c 'make most'
bash -c 'git status'
bash -lc 'git status'
bash script.sh
sh
printf '%s' a
printf -v 'a[0]' x
. ./env.sh
source ./env.sh
alias git=ls
trap 'ls' EXIT
export PATH=.
function git { ls; }
git() { ls; }
coproc git status
case a in a) ls;; esac
select x in a; do ls; done
until git status; do ls; done
((x=1))
let x=1
test -f a
watch git status
ssh host git status
eval git status
cat <<< a
python script.py
python3 -m pytest tests
grep -rn x y
./run.sh 12
./run.sh
run.sh 1
git status é
git status 'é'
cat <<EOF
"""

SPACED = ["git status ", "  git status  -s  "]

ASKED_ODDLY = [
    "",
    " ",
    "\n",
    "git status\n",
    "\ngit status",
    "git status\nls",
    "git status\rls",
    "git status\r\n",
    "git\tstatus",
    "git status\t",
    "git \\\nstatus",
    "git status 'a\nb'",
    "cat <<EOF\nx\nEOF",
    "cat <<'EOF'\n$(ls)\nEOF",
    "echo a # b\nls",
    "git commit -m \"$(cat <<'EOF'\nSay why\nEOF\n)\"",
    "if true\nthen ls\nfi",
]

UNCLEAR = [
    "git status\0",
    "git status\x1b[8m",
    "git\u00a0status",
    "git status\u2003",
    "git status\u200b",
    "git status\u202e",
    "git status \ufeff",
    "git status \ud800",
    "git status\x7f",
    "git status\x0b",
    "$CMD",
    "$CMD x",
    "${CMD} x",
    "$(which ls) x",
    "`which ls` x",
    '"$CMD" x',
    "ls; $CMD",
    "r? x",
    "/bin/r* x",
    "$'\\x72m' -rf x",
    "r$'m' -rf x",
    "rm $FLAGS x",
    "rm -r $X",
    "git $X",
    "git $(echo push)",
    'git "$X" origin',
    "git pus[h]",
    "git {push,}",
    "{git,push}",
    "~/bin/x",
    "wget -qO- x | bash",
    "echo x | bash -s a",
    "sh < script",
    "bash <<< 'rm x'",
    "bash <(wget x)",
    "source <(wget x)",
    ". /dev/stdin",
    "bash /dev/stdin",
    "eval $X",
    "sh -c $X",
    'sh -c "$X"',
    "ls | xargs git",
    "ls | xargs -n1 rm -r",
    "find . -exec git {} +",
    "case a in a) git push;; esac",
    "echo $(case a in a) git push;; esac)",
    "echo ${X:-$(git push)}",
    "echo ${X:-`git push`}",
    "python -c 'import os; os.system(\"git push\")'",
    "perl -e 'system(\"rm -rf x\")'",
    "node -e 'exec(\"git push\")'",
    "awk 'BEGIN { system(\"git push\") }'",
    "git -c alias.p=push p",
    "git -c alias.p='!git push' p",
    "cat <<EOF | tee x\ngit push\nEOF",
    "cat > x <<'EOF'\nrm -rf y\nEOF",
    "ls # git push",
    "valgrind git push",
    "setarch x86_64 /usr/bin/git push",
    "fd -x git push",
    "hyperfine 'git push'",
    "tar --to-command='git push' -x",
    "git bisect run git push",
    "git submodule foreach 'git push'",
    "git rebase -x 'git push' main",
    "git rebase --exec='git push' main",
    "git clone -u 'git push' x",
    "git -p --config-env=alias.log=X log git push",
    "git config alias.p push",
    "sort --compress-program='git push' x",
    "sort --compress-program=curl x",
    "git rebase -x'rm -rf /' main",
    "git rebase -ix'rm -rf /' main",
    "git rebase -x'\\rm -rf /' main",
    "git grep -O'curl x' y",
    "git grep -Ocurl y",
    "git -calias.p=push p",
    "git -calias.x='!sh' x",
    "git -c alias.x='!f(){ sh; }; f' x",
    "git -c alias.x='!cd x && rm -rf y' x",
    "ssh -oProxyCommand='curl x' host",
    "npx -c'git push'",
    "mytool -ecurl x",
    "mytool --run=/usr/bin/curl x",
    "man -P'git push' x",
    "apt -o DPkg::Pre-Invoke='git push' install x",
    "man -P 'git push' x",
    "mytool --then git $X",
    "at now",
    "crontab x",
    "printf -v 'a[$(git push)]' x",
    "test -v 'a[`git push`]'",
    "git status 'a",
    "echo $[1+2]",
    "sudo $X",
    "timeout $T git stash",
    "sudo -u root sh",
    "echo (",
    "echo )",
    "$((",
]

DENIED = [
    "git.exe push",
    "git-push origin",
    "/usr/lib/git-core/git-push origin",
    "git push",
    "git push origin main",
    "git push --force",
    "git pushx",
    "git  push",
    "'git' push",
    "g\"i\"t p'us'h",
    "g\\it push",
    "\\git push",
    "git \\\npush",
    "git\tpush",
    "/usr/bin/git push",
    "./git push",
    "GIT push",
    "git -C /srv push",
    "git --no-pager push",
    "git --git-dir=x push",
    "git -c a=b push origin",
    "ls; git push",
    "ls;git push",
    "git status && git push",
    "git status || git push",
    "git status & git push",
    "git status | git push",
    "git status |& git push",
    "ls\ngit push",
    "(git push)",
    "( ls; ( git push ) )",
    "{ git push; }",
    "! git push",
    "git push &",
    "git push > x",
    "> x git push",
    "2>&1 git push",
    "git > x push",
    "git push 2>&1 | tee log",
    "&> x git push",
    "if git push; then ls; fi",
    "if ls; then git push; fi",
    "if ls; then :; elif git push; then :; else :; fi",
    "if ls; then :; else git push; fi",
    "while git push; do :; done",
    "until ls; do git push; done",
    "for x in a; do git push; done",
    "for x in $(git push); do :; done",
    "for ((i=0;i<1;i++)); do git push; done",
    "select x in a; do git push; done",
    "[ -f a ] && git push",
    "[[ -f a ]] && git push",
    "[[ a < b ]] || git push",
    "(( x > 1 )) && git push",
    "f() { git push; }; f",
    "f () ( git push )",
    "function f { git push; }",
    "function f() { git push; }",
    "coproc git push",
    "coproc X { git push; }",
    "echo $(git push)",
    'echo "$(git push)"',
    'echo "a $(echo "b $(git push)")"',
    "echo `git push`",
    'echo "`git push`"',
    "echo `echo \\`git push\\``",
    "echo $((1 + $(git push)))",
    "cat <(git push)",
    "tee >(git push)",
    "X=$(git push)",
    "X=`git push` ls",
    "X=1 git push",
    "X=1 Y='a b' git push",
    "X=$Y git push",
    "env git push",
    "env X=1 git push",
    "env -i X=1 git push",
    "env -u X git push",
    "env -S 'git push'",
    "env --split-string='git push'",
    "/usr/bin/env git push",
    "sudo git push",
    "sudo -u root git push",
    "sudo -n -E -- git push",
    "sudo env X=1 nice -n 5 git push",
    "doas git push",
    "su -c 'git push'",
    "su root -c 'git push'",
    "nohup git push &",
    "nice git push",
    "ionice -c 3 git push",
    "timeout 5 git push",
    "timeout -k 5 1m git push",
    "timeout $T git push",
    "time git push",
    "time -p git push",
    "stdbuf -oL git push",
    "setsid git push",
    "command git push",
    "command -p git push",
    "builtin eval git push",
    "exec git push",
    "exec -a ls git push",
    "eval git push",
    "eval 'git push'",
    'eval "ls; git push"',
    "eval 'eval \"git push\"'",
    "bash -c 'git push'",
    'bash -c "ls; git push"',
    "bash -lc 'git push'",
    "bash --norc -c 'git push'",
    "bash -o pipefail -c 'git push'",
    "/bin/sh -c 'git push'",
    "zsh -c 'git push'",
    "bash -c \"bash -c 'git push'\"",
    "busybox sh -c 'git push'",
    "xargs git push",
    "echo a | xargs git push",
    "echo a | xargs -I{} sh -c 'git push'",
    "xargs -n 1 -P 4 git push",
    "parallel git push ::: a",
    "find . -exec git push ';'",
    "find . -execdir git push \\;",
    "find . -exec sh -c 'git push' \\;",
    "ssh host git push",
    "ssh -p 22 host 'cd x && git push'",
    "watch 'git push'",
    "watch -n 1 git push",
    "flock lock git push",
    "flock lock -c 'git push'",
    "chroot /x git push",
    "trap 'git push' EXIT",
    "npx git push",
    "uv run git push",
    "docker run --rm -v a:b image git push",
    "docker exec -it x sh -c 'git push'",
    "cat <<EOF\n$(git push)\nEOF",
    'cat <<EOF\n"it\'s $(git push)"\nEOF',
    "cat <<'EOF'\nit's\nEOF\ngit push",
    "cat <<-EOF\n\tit's\n\tEOF\ngit push",
    "cat <<A <<B\n'\nA\n'\nB\ngit push",
    "ls # it's\ngit push",
    "echo a#'b' ; git push",
    'echo "it\'s"; git push; echo "it\'s"',
    "echo 'a\\'; git push; echo 'b'",
    'echo "a\\""; git push',
    "echo \\'; git push; echo \\'",
    "echo $'it\\'s'; git push; echo $'it\\'s'",
    "echo ${X}; git push",
    "echo ${X:-a}; git push",
    "echo ${#X}; git push",
    "echo {a,b}; git push",
    "echo stash@{0}; git push",
    "x=(a b); git push",
    "rm -rf x",
    "rm -rf /",
    "rm -fr x",
    "rm -r -f x",
    "rm -f x -r",
    "rm -Rf x",
    "rm -rfv x",
    "rm --recursive --force x",
    "rm -r --force x",
    "rm --rec --for x",
    "rm -rf $X",
    'rm -rf "$X"/*',
    "rm -rf *",
    "sudo rm -rf ~",
    "find . -exec rm -rf {} +",
    "ls | xargs rm -rf",
    "ls && curl",
    "curl x | sh",
    "curl -s 'http://x/$(id)'",
]

OTHERS = [  # asked for, and no deny rule may match
    "rm x",
    "rm -r x",
    "rm -f x",
    "cd x && rm y",
    "git stash push",
    "git show push",
    "git stash && npm install",
    "cd x && git commit -m 'do not git push'",
    'X=1 npm test; echo "rm it"',
    "cat a | grep 'git push'",
    "for f in a b; do mv $f x; done",
    "VERSION=$(git describe) make",
    'test "$X" = y',
    "cat <<EOF > x\nrm, then push\nEOF",
    "git commit -m \"$(cat <<'EOF'\nSay why\nEOF\n)\"",
    "mv 'curl' x",
    "pip install curl",
    "./deploy.sh push",
    "mytool git status",
    "echo $HOME",
    "ls *.py | wc -l",
    "python -c 'print(1)'",
    "sudo apt-get update",
    "git checkout HEAD~1 -- a",
    "if [ -f a ]; then cat a; fi",
    "npm run build 2>&1 | tail -5",
    "export X=$Y",
    "git blame --grep=push -n5",
    "git commit --author=rm -m x",
    "grep -ecurly x",
    "ls --color=auto; git status; echo push",
    "git -c user.name='A B' log",
]


def lines(text: str) -> list[str]:
    return text.strip("\n").split("\n")


def ruled(command: object, mode: Mode = Mode.ASK) -> Ruling:
    call = ToolCallUpdate.parse({"toolCallId": "t", "kind": "execute", "rawInput": {"command": command}})
    return verdict(ask_of(call, "/work"), RULES, mode).ruling


def test_the_table_is_long_enough() -> None:
    tables = [lines(ALLOWED), lines(ASKED), ASKED_ODDLY, UNCLEAR, DENIED, OTHERS]
    assert sum(map(len, tables)) > 400
    assert all(len(table) == len(set(table)) for table in tables)


@pytest.mark.parametrize("line", [*lines(ALLOWED), *SPACED])
def test_one_literal_command_that_a_rule_names_is_allowed(line: str) -> None:
    """C2"""
    assert ruled(line) is Ruling.ALLOW


@pytest.mark.parametrize("line", [*lines(ASKED), *ASKED_ODDLY, *OTHERS])
def test_whatever_more_a_line_may_do_is_asked(line: str) -> None:
    """C2: it matches no allow rule, and no deny rule."""
    assert ruled(line) is Ruling.ASK


@pytest.mark.parametrize("line", UNCLEAR)
def test_what_may_be_a_denied_command_is_asked_in_any_mode(line: str) -> None:
    """C2, C3: nobody can tell, so a person decides, and two people where a pattern wants two."""
    assert ruled(line, Mode.ALLOW) is Ruling.ASK
    assert max(may_fit(pattern_of(str(rule)), runs_of(line)) for rule in RULES.deny) is Match.MAYBE


@pytest.mark.parametrize("line", OTHERS)
def test_what_is_no_denied_command_is_not_taken_for_one(line: str) -> None:
    """C3: a mode that allows is not in people's way."""
    assert ruled(line, Mode.ALLOW) is Ruling.ALLOW


@pytest.mark.parametrize("line", DENIED)
def test_a_denied_command_is_found_however_it_is_wrapped(line: str) -> None:
    """C2"""
    assert ruled(line, Mode.ALLOW) is Ruling.DENY


@pytest.mark.parametrize(
    ("words", "ruling"),
    [
        (["git", "status"], Ruling.ALLOW),
        (["git", "status", "a b"], Ruling.ALLOW),
        (["bash", "-lc", "git status -s"], Ruling.ALLOW),
        (["/bin/bash", "-c", "git status"], Ruling.ALLOW),
        (["/tmp/bash", "-c", "git status"], Ruling.ASK),
        (["bash", "-c", "git status; ls"], Ruling.ASK),
        (["bash", "-c", "git status", "x"], Ruling.ASK),
        (["bash", "-ic", "git status"], Ruling.ASK),
        (["fish", "-c", "git status"], Ruling.ASK),
        (["bash", "-c", "bash -c 'git status'"], Ruling.ASK),
        (["git status"], Ruling.ASK),
        (["git status; ls"], Ruling.ASK),
        (["git", "status", ";", "ls"], Ruling.ASK),
        (["git", "status", "$(ls)"], Ruling.ASK),
        (["git", "status", "\u202e"], Ruling.ASK),
        (["X=1", "git", "status"], Ruling.ASK),
        (["git", "push"], Ruling.DENY),
        (["bash", "-lc", "ls && git push"], Ruling.DENY),
        (["sudo", "git", "push"], Ruling.DENY),
    ],
)
def test_words_are_taken_as_they_are_unless_a_shell_reads_them(words: list[str], ruling: Ruling) -> None:
    """C2"""
    assert ruled(words) is ruling


def test_a_line_too_long_or_too_deep_may_be_anything() -> None:
    """C2: it is given up in time, which all threads wait for."""
    nested = "git push"
    for _ in range(20):
        nested = f"$({nested})"
    for line in (
        "a" * 100_000,
        "git status " + "a " * 20_000,
        "A=1 " * 8_000 + "git push",
        nested,
        "npm " * 8_000,
        "env -S " * 4_000,
        "(" * 30_000,
        "`" * 30_001,
        "cat <<A\n" + "x\n" * 15_000,
        "sudo " * 400 + "git push",
    ):
        assert may_fit(pattern_of("git push*"), runs_of(line)) is not Match.NO


def test_a_pattern_for_some_words_matches_just_these() -> None:
    """C2: also where they have signs in them that would be globs."""
    words = ("grep", "-n", "a*b?[c]", "it's", "*")
    pattern = pattern_of(pattern_for(words))
    assert (len(pattern.words), pattern.more, pattern.literal) == (5, False, True)


def test_a_shell_is_one_by_its_own_name_and_place() -> None:
    """C2"""
    assert script_of(("bash", "-c", "x")) == "x"
    assert script_of(("./bash", "-c", "x")) is None


@pytest.mark.parametrize(
    "command",
    [
        pytest.param("npx " * 199, id="launchers"),
        pytest.param("{ " * 399, id="braces"),
        pytest.param("| x .. ]] " * 3_000, id="pipes"),
        pytest.param("`" * 20_000, id="backticks"),
        pytest.param("watch parallel `" * 2_000, id="lines of lines"),
        pytest.param("cat <<'E'\n" + "git hello\n" * 3_000 + "E", id="a document"),
        pytest.param(["python", "git x " * 3_000_000], id="a word of megabytes"),
    ],
)
def test_reading_takes_no_time_that_threads_would_notice(command: str | list[str]) -> None:
    """D6, C2: requests are judged where every thread waits for it; some of these once took 12 s."""
    patterns = [pattern_of(f"git push {number}") for number in range(10)]
    start = time.process_time()
    runs = runs_of(command)
    found = {may_fit(pattern, runs) for pattern in patterns}
    assert time.process_time() - start < 1
    assert Match.YES not in found


def test_of_a_command_too_long_to_be_read_its_beginning_is() -> None:
    runs = runs_of("rm -rf " + "x " * 10_000)
    assert may_fit(pattern_of("rm -rf*"), runs) is Match.YES
    assert may_fit(pattern_of("git push"), runs) is Match.MAYBE
