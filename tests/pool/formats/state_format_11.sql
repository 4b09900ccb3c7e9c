BEGIN TRANSACTION;
CREATE TABLE cards (
            token TEXT PRIMARY KEY NOT NULL,
            thread_id INTEGER NOT NULL,
            prompt INTEGER NOT NULL,
            message_id INTEGER NOT NULL,
            archive INTEGER
        );
INSERT INTO "cards" VALUES('x',1300000000000000001,1400000000000000001,0,NULL);
CREATE TABLE claims (
            claim_id INTEGER PRIMARY KEY,
            session_id TEXT NOT NULL UNIQUE,
            thread_id INTEGER NOT NULL,
            payload TEXT NOT NULL
        );
CREATE TABLE decisions (
            decision_id INTEGER PRIMARY KEY,
            at REAL NOT NULL,
            guild_id INTEGER,
            thread_id INTEGER NOT NULL,
            prompt_id INTEGER NOT NULL,
            asker_id INTEGER NOT NULL,
            asker_name TEXT NOT NULL,
            what TEXT NOT NULL,
            kind TEXT NOT NULL,
            decided_by TEXT NOT NULL,
            person_id INTEGER,
            person_name TEXT,
            rule TEXT,
            option TEXT,
            outcome TEXT NOT NULL,
            reason TEXT
        );
INSERT INTO "decisions" VALUES(1576676597067689590,1764000002.0,10,1,7,3,'alice','rm -r build/2','execute','person',4,'bob ü🧵',NULL,'Allow once','allowed',NULL);
CREATE TABLE notices (
            thread_id INTEGER PRIMARY KEY,
            since INTEGER NOT NULL,
            stopping INTEGER NOT NULL
        );
INSERT INTO "notices" VALUES(1300000000000000001,1400000000000000090,1);
CREATE TABLE places (
            place_id INTEGER PRIMARY KEY,
            guild_id INTEGER,
            parent_id INTEGER,
            owner_id INTEGER,
            seen INTEGER NOT NULL
        );
INSERT INTO "places" VALUES(1300000000000000001,1000000000000000001,1200000000000000001,1100000000000000001,1400000000000000006);
INSERT INTO "places" VALUES(1300000000000000003,NULL,NULL,NULL,0);
CREATE TABLE prompts (
            message_id INTEGER PRIMARY KEY,
            thread_id INTEGER NOT NULL,
            channel_id INTEGER NOT NULL,
            author_id INTEGER NOT NULL,
            payload TEXT,
            started INTEGER NOT NULL,
            shown TEXT NOT NULL,
            outcome TEXT,
            reply TEXT,
            finished_at INTEGER
        , turn INTEGER);
INSERT INTO "prompts" VALUES(1400000000000000001,1300000000000000001,1200000000000000001,1100000000000000001,'{"text": "prompt 1400000000000000001, ü🙂"}',0,'',NULL,NULL,NULL,NULL);
INSERT INTO "prompts" VALUES(1400000000000000002,1300000000000000001,1200000000000000001,1100000000000000001,'{"text": "prompt 1400000000000000002, ü🙂"}',1,'1400000000000000021 1400000000000000022',NULL,NULL,NULL,NULL);
INSERT INTO "prompts" VALUES(1400000000000000003,1300000000000000001,1200000000000000001,1100000000000000001,'{"text": "prompt 1400000000000000003, ü🙂"}',1,'1400000000000000031','answered','{"text": "Done."}',NULL,NULL);
INSERT INTO "prompts" VALUES(1400000000000000004,1300000000000000001,1200000000000000001,1100000000000000001,'{"text": "prompt 1400000000000000004, ü🙂"}',1,'','interrupted',NULL,1764000000,NULL);
INSERT INTO "prompts" VALUES(1400000000000000005,1300000000000000001,1200000000000000001,1100000000000000001,NULL,0,'','removed',NULL,1764000000,NULL);
INSERT INTO "prompts" VALUES(1400000000000000006,1300000000000000001,1200000000000000001,1100000000000000001,'{"text": "prompt 1400000000000000006, ü🙂"}',1,'',NULL,NULL,NULL,1400000000000000002);
CREATE TABLE rules (
            rule_id INTEGER PRIMARY KEY,
            agent TEXT NOT NULL,
            workspace TEXT NOT NULL,
            allow INTEGER NOT NULL,
            kind TEXT,
            command TEXT,
            path TEXT,
            added_by_id INTEGER NOT NULL,
            added_by_name TEXT NOT NULL,
            added_at REAL NOT NULL,
            thread_id INTEGER NOT NULL,
            prompt_id INTEGER NOT NULL,
            request TEXT NOT NULL
        );
INSERT INTO "rules" VALUES(2,'claude','/work',1,'execute','npm test',NULL,4,'bob',1764000000.5,1,7,'npm test -- login');
CREATE TABLE sessions (
            entry INTEGER PRIMARY KEY,
            session_id TEXT NOT NULL,
            thread_id INTEGER NOT NULL,
            copy INTEGER NOT NULL,
            at INTEGER NOT NULL,
            UNIQUE (session_id, thread_id)
        );
INSERT INTO "sessions" VALUES(1,'second',1300000000000000001,0,1764000000);
INSERT INTO "sessions" VALUES(2,'first',1300000000000000001,0,1764000000);
CREATE TABLE spending (
            number INTEGER PRIMARY KEY,
            prompt_id INTEGER NOT NULL UNIQUE,
            at INTEGER NOT NULL,
            day TEXT NOT NULL,
            person_id INTEGER NOT NULL,
            thread_id INTEGER NOT NULL,
            agent TEXT NOT NULL,
            money INTEGER NOT NULL,
            currency TEXT,
            tokens INTEGER NOT NULL,
            session TEXT,
            total INTEGER,
            context INTEGER
        );
INSERT INTO "spending" VALUES(1,1400000000000000001,1764000000,'2025-11-24',3,1300000000000000001,'claude',1000000,'USD',500,'first',3000000,9000);
CREATE TABLE threads (
            thread_id INTEGER PRIMARY KEY,
            agent TEXT,
            session_id TEXT,
            cwd TEXT,
            previous_session_id TEXT,
            title TEXT,
            mode TEXT,
            options TEXT
        , used_at INTEGER NOT NULL DEFAULT 0, base TEXT);
INSERT INTO "threads" VALUES(1300000000000000001,'gemini','second','/work/a','first','A title','plan','{"model": "large"}',1764000000,'9f3c');
INSERT INTO "threads" VALUES(1300000000000000002,NULL,NULL,'/work/b',NULL,NULL,NULL,NULL,1764000000,NULL);
CREATE TABLE transcripts (
            turn_id INTEGER PRIMARY KEY,
            thread_id INTEGER NOT NULL,
            at INTEGER NOT NULL,
            size INTEGER NOT NULL,
            payload BLOB NOT NULL
        );
INSERT INTO "transcripts" VALUES(2,1,1764000000,7,X'7475726E203200');
CREATE INDEX prompts_unfinished ON prompts (message_id) WHERE finished_at IS NULL;
CREATE INDEX prompts_finished ON prompts (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX prompts_turn ON prompts (turn) WHERE turn IS NOT NULL;
CREATE INDEX threads_used ON threads (used_at);
CREATE INDEX places_seen ON places (seen);
CREATE INDEX decisions_at ON decisions (at);
CREATE INDEX decisions_thread ON decisions (thread_id, decision_id);
CREATE INDEX transcripts_thread ON transcripts (thread_id, turn_id);
CREATE INDEX transcripts_at ON transcripts (at, turn_id, size);
CREATE INDEX spending_at ON spending (at);
CREATE INDEX spending_day ON spending (day);
CREATE INDEX sessions_at ON sessions (at);
CREATE INDEX threads_session ON threads (session_id) WHERE session_id IS NOT NULL;
COMMIT;
PRAGMA user_version = 11;
