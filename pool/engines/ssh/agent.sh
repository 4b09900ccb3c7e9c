# Runs on a host of the ssh engine, in whatever `sh` is there: dash and busybox ash are tried.
#
# `pool.engines.ssh.script` sends it over stdin, behind assignments to the weft_* variables that are used here and
# weft_environment(), which exports what the agent gets. What is said to the engine is a line that begins with a record
# separator and the nonce; all else on stdout and stderr is the agent's, which has both as they come from sshd.
# shellcheck shell=sh disable=SC2154,SC2015,SC2030,SC2031,SC2094

weft_tell() {
    printf '\036%s %s\n' "$weft_nonce" "$*"
}

weft_fail() {
    weft_tell failed "$@"
    exit 1
}

# --- what is there -------------------------------------------------------------------------------------------------

# Prints how many agents carry the mark, and pid:start of all that carry it, were known before, or descend from these.
# By the start as well, since ids are used again. Two marks, as each can be lost: the environment and the descent. What
# has weft_spare in its environment is of the run that asks, and what has weft_spare_from as its epoch or a higher one,
# of that run or a later one: neither counts.
weft_look() {
    {
        head -c 1048576 /proc/[0-9]*/environ 2>/dev/null | tr '\000' '\n'
        printf '\n==> %s <==\n' "$weft_nonce"
        cat /proc/[0-9]*/stat 2>/dev/null
    } | LC_ALL=C awk -v mark="$1" -v known="$2" -v nonce="==> $weft_nonce <==" -v self="$$" \
        -v spare="${weft_spare-}" -v from="${weft_spare_from-}" '
        $0 == nonce { stats = 1; next }
        !stats && /^==> \/proc\/[0-9]+\/environ <==$/ { split($0, part, "/"); pid = part[3]; next }
        !stats && $0 == mark { marked[pid] = 1; next }
        !stats && spare != "" && $0 == spare { spared[pid] = 1; next }
        !stats && from != "" && /^WEFT_EPOCH=[0-9]+$/ { if (substr($0, 12) + 0 >= from + 0) spared[pid] = 1; next }
        !stats && /^WEFT_AGENT=/ { agent[pid] = $0; next }
        !stats { next }
        match($0, /^[0-9]+ \(.*\) /) {
            id = $1
            split(substr($0, RLENGTH + 1), field, " ")
            if (field[1] != "Z" && field[1] != "X") { parent[id] = field[2]; start[id] = field[20] }
        }
        END {
            for (id in marked) if (id in start && !(id in spared)) { found[id] = 1; if (id in agent) agents[agent[id]] = 1 }
            count = split(known, list, " ")
            for (i = 1; i <= count; i++) { split(list[i], pair, ":"); if (start[pair[1]] == pair[2]) found[pair[1]] = 1 }
            do {
                more = 0
                for (id in parent) if (!(id in found) && parent[id] in found) { found[id] = 1; more = 1 }
            } while (more)
            if (mark ~ /^WEFT_AGENT=/) for (id in found) agents[mark] = 1
            count = 0
            for (key in agents) count++
            line = count
            for (id in found) if (id != self && id in start) line = line " " id ":" start[id]
            print line
        }'
}

# Sets weft_left to what there is of a mark now, and weft_count to the number of agents. A look that fails must not be
# taken for one that finds nothing.
weft_list() {
    weft_seen=$(weft_look "$1" "$weft_left")
    case $weft_seen in
        [0-9]*" "*) weft_left=${weft_seen#* } ;;
        [0-9]*) weft_left= ;;
        *) weft_left="${weft_left:-nobody:knows}" ;;
    esac
    weft_count=${weft_seen%% *}
}

# Whether any of these (pid:start) still runs; a zombie does not.
weft_any_alive() {
    for weft_one in "$@"; do
        weft_line=
        { read -r weft_line <"/proc/${weft_one%%:*}/stat"; } 2>/dev/null
        # shellcheck disable=SC2086
        weft_same_start "${weft_one#*:}" ${weft_line##*") "} && return 0
    done
    return 1
}

weft_same_start() {
    weft_start=$1
    shift
    case ${1:-Z} in
        Z | X) return 1 ;;
    esac
    [ "${20:-}" = "$weft_start" ]
}

# --- ending it -----------------------------------------------------------------------------------------------------

# Waits until all that is left has gone, at most so many tenths of a second; looks anew, as what dies may leave children.
weft_wait() {
    weft_ticks=$2
    # shellcheck disable=SC2086
    while [ "$weft_ticks" -gt 0 ] && weft_any_alive $weft_left; do
        sleep 0.1 2>/dev/null || sleep 1
        weft_ticks=$((weft_ticks - 1))
    done
    weft_list "$1"
}

weft_signal() {
    for weft_one in $weft_left; do
        # Looked at once more: this shell may have stood still, and the id be somebody else's by now.
        weft_any_alive "$weft_one" && kill -s "$1" "${weft_one%%:*}" 2>/dev/null
    done
}

# Ends all that carries the mark: time to go by itself, TERM, KILL, and KILL again until nothing is left.
weft_end() {
    weft_stage=eof
    weft_list "$1"
    [ "$2" -gt 0 ] && weft_wait "$1" "$2"
    if [ -n "$weft_left" ]; then
        weft_stage=term
        weft_signal TERM
        weft_wait "$1" "$3"
    fi
    [ -n "$weft_left" ] && weft_stage="kill"
    weft_rounds=0
    # Also when nothing is left: what was just being started may be in the next list only.
    while weft_rounds=$((weft_rounds + 1)); do
        weft_before=$weft_left
        weft_signal KILL
        weft_wait "$1" "$4"
        [ -z "$weft_left$weft_before" ] && break
        [ "$weft_rounds" -ge 3 ] && break
    done
}

# --- the agent -----------------------------------------------------------------------------------------------------

# Whose it is. The state under another name than agents have that a bot starts on its own machine, which may be this one.
weft_marks() {
    export WEFT_AGENT="$weft_marker" WEFT_ENGINE_STATE="$weft_state" WEFT_BOT_RUN="${weft_bot_run-}"
    export WEFT_EPOCH="${weft_epoch-}"
}

weft_free_memory() {
    sed -n 's/^MemAvailable: *\([0-9]*\) kB$/\1/p' /proc/meminfo 2>/dev/null
}

weft_oom_kills() {
    sed -n 's/^oom_kill //p' /proc/vmstat 2>/dev/null
}

# A directory that somebody has to have made, such as one of a disk that may not be mounted, is never made here.
weft_directory() {
    [ -d "$weft_base" ] || weft_fail directory "$weft_base is not a directory"
    [ -d "$weft_cwd" ] || mkdir -p -- "$weft_cwd" 2>/dev/null || weft_fail directory "$weft_cwd can't be made"
    cd -- "$weft_cwd" 2>/dev/null || weft_fail directory "$weft_cwd can't be used"
}

weft_program() {
    case $1 in
        */*)
            [ -e "$1" ] || weft_fail missing "$1"
            [ -x "$1" ] && [ ! -d "$1" ] || weft_fail forbidden "$1"
            ;;
        *)
            (
                weft_environment
                command -v -- "$1"
            ) >/dev/null 2>&1 || weft_fail missing "$1"
            ;;
    esac
}

# Opens 5 and 6 as the two ends of a pipe, through /proc and a name that is gone at once.
weft_pipe() {
    for weft_place in "${TMPDIR:-/tmp}" /tmp /dev/shm "$HOME"; do
        weft_name=$weft_place/.weft-$weft_nonce
        if mkfifo -m 600 "$weft_name" 2>/dev/null; then
            exec 4<>"$weft_name"
            rm -f -- "$weft_name"
            exec 5</proc/self/fd/4 6>/proc/self/fd/4 4>&-
            return
        fi
    done
    weft_fail tools "no directory for a pipe: /tmp can't be written to"
}

# While the other machine is away, TCP notices only if something is to be sent: so something is, now and then. When it
# gives up, sshd closes the agent's input.
weft_beat() {
    while sleep "$weft_pulse" >/dev/null 2>&1 && kill -0 $$ 2>/dev/null; do
        weft_tell beat 2>/dev/null || exit
    done
}

# Copies stdin for the agent. Its end, or that of the connection, is what the agent and all that it has started end by.
weft_feed() {
    cat <&3 >&6 2>/dev/null
    exec 3<&- 6>&-
    kill -s USR1 $$
    weft_left=
    weft_end "WEFT_AGENT=$weft_marker" "$weft_eof" "$weft_term" "$weft_kill"
    weft_tell stage "$weft_stage" >&2
}

# Ends a child of this shell, of which nothing is to be said.
weft_forget() {
    {
        kill -s KILL "$1"
        wait "$1"
    } 2>/dev/null
}

weft_agent() {
    trap '' PIPE # who writes to a connection that is gone has something to end yet
    weft_setsid=$(command -v setsid)
    weft_directory
    weft_program "$1"
    weft_kills=$(weft_oom_kills)
    weft_beat >&2 </dev/null &
    weft_beating=$!
    weft_pipe
    exec 3<&0 </dev/null
    weft_asked=
    trap 'weft_asked=1' USR1
    # Before the agent is there: what it says comes behind these lines, and the host's banner before them.
    weft_tell started >&2
    weft_tell started "$(weft_free_memory)"
    (
        trap - PIPE USR1
        weft_environment
        weft_marks
        exec $weft_setsid "$@" <&5 5<&- 6>&- 3<&-
    ) &
    weft_pid=$!
    weft_feed 5<&- >/dev/null &
    weft_feeding=$!
    exec 3<&- 5<&- 6>&- >/dev/null
    wait "$weft_pid" 2>/dev/null # some shells say there what it was ended by
    weft_code=$?
    if [ "$weft_code" -gt 128 ] && [ -n "$weft_asked" ]; then
        # Perhaps it was the signal that ended the waiting.
        wait "$weft_pid" 2>/dev/null
        weft_again=$?
        [ "$weft_again" -eq 127 ] || weft_code=$weft_again
    fi
    weft_reason=
    [ "$weft_code" -eq 137 ] && [ "$(weft_oom_kills)" != "$weft_kills" ] && weft_reason=OOMKilled
    weft_tell exit "$weft_code" "$weft_reason" >&2
    if [ -n "$weft_asked" ]; then
        wait "$weft_feeding"
    else
        weft_forget "$weft_feeding"
    fi
    weft_left=
    weft_end "WEFT_AGENT=$weft_marker" 0 "$weft_term" "$weft_kill"
    weft_forget "$weft_beating"
    weft_tell gone "$weft_left" >&2
}

# --- beside it -----------------------------------------------------------------------------------------------------

weft_run() {
    cd -- "$weft_cwd" 2>/dev/null || weft_fail directory "$weft_cwd can't be used"
    weft_tell started
    (
        weft_environment
        weft_marks
        export WEFT_RUN="$weft_nonce"
        exec "$@"
    )
    weft_tell exit $? >&2
}

weft_end_marked() {
    weft_left=
    weft_list "$1"
    weft_found=$weft_count
    weft_end "$1" 0 "$weft_term" "$weft_kill"
    weft_tell ended "$weft_found" "$weft_left"
}

# Says also which of some directories are there, by their numbers.
weft_probe() {
    weft_left=
    weft_list "WEFT_ENGINE_STATE=$weft_state"
    weft_tell memory "$(weft_free_memory)"
    weft_tell agents "$weft_count"
    weft_number=0
    for weft_one in "$@"; do
        [ -d "$weft_one" ] && weft_tell has "$weft_number"
        weft_number=$((weft_number + 1))
    done
}

weft_check() {
    weft_probe
    for weft_one in cat awk tr sed mkfifo mkdir rm sleep; do
        command -v "$weft_one" >/dev/null 2>&1 || weft_tell lacks "$weft_one"
    done
    head -c 1 /proc/self/environ >/dev/null 2>&1 || weft_tell blind
    # Pairs of a base directory and a program.
    while [ $# -ge 2 ]; do
        if [ ! -d "$1" ]; then
            weft_tell directory missing "$1"
        elif [ ! -w "$1" ]; then
            weft_tell directory closed "$1"
        fi
        (weft_program "$2" >/dev/null) || weft_tell program "$2"
        shift 2
    done
    weft_tell checked
}

case $weft_mode in
    agent) weft_agent "$@" ;;
    run) weft_run "$@" ;;
    end) weft_end_marked "$@" ;;
    probe) weft_probe "$@" ;;
    check) weft_check "$@" ;;
esac
exit 0
