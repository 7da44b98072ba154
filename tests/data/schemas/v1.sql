BEGIN TRANSACTION;
CREATE TABLE event (
	id INTEGER NOT NULL, 
	at TEXT NOT NULL, 
	job_id INTEGER, 
	kind TEXT NOT NULL, 
	reason TEXT, 
	detail TEXT NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(job_id) REFERENCES job (id)
)
 STRICT

;
INSERT INTO "event" VALUES(1,'2025-03-01T12:00:00.000Z',NULL,'daemon_started',NULL,'{"pid": 1, "version": "0.1.0"}');
INSERT INTO "event" VALUES(2,'2025-03-01T12:00:00.000Z',1,'queued',NULL,'{}');
INSERT INTO "event" VALUES(3,'2025-03-01T12:00:00.000Z',2,'queued',NULL,'{}');
INSERT INTO "event" VALUES(4,'2025-03-01T12:00:00.000Z',3,'queued',NULL,'{}');
INSERT INTO "event" VALUES(5,'2025-03-01T12:00:00.000Z',4,'queued',NULL,'{}');
INSERT INTO "event" VALUES(6,'2025-03-01T12:00:00.000Z',5,'queued',NULL,'{}');
INSERT INTO "event" VALUES(7,'2025-03-01T12:00:00.000Z',6,'queued',NULL,'{}');
INSERT INTO "event" VALUES(8,'2025-03-01T12:00:00.000Z',7,'queued',NULL,'{}');
INSERT INTO "event" VALUES(9,'2025-03-01T12:00:00.000Z',8,'queued',NULL,'{}');
INSERT INTO "event" VALUES(10,'2025-03-01T12:00:00.000Z',9,'queued',NULL,'{}');
INSERT INTO "event" VALUES(11,'2025-03-01T12:00:00.000Z',10,'queued',NULL,'{}');
INSERT INTO "event" VALUES(12,'2025-03-01T12:00:01.000Z',1,'running',NULL,'{"attempt": 1, "owner": "first"}');
INSERT INTO "event" VALUES(13,'2025-03-01T12:00:00.000Z',1,'decoded',NULL,'{"audio_s": 10.5, "declared_s": 10.5, "speech_s": 9.0}');
INSERT INTO "event" VALUES(14,'2025-03-01T12:00:02.000Z',1,'publishing',NULL,'{"n_outputs": 2}');
INSERT INTO "event" VALUES(15,'2025-03-01T12:00:03.000Z',1,'done',NULL,'{"outcome": "ok", "wall_s": 1.5}');
INSERT INTO "event" VALUES(16,'2025-03-01T12:00:02.000Z',2,'running',NULL,'{"attempt": 1, "owner": "first"}');
INSERT INTO "event" VALUES(17,'2025-03-01T12:00:00.000Z',2,'decoded',NULL,'{"audio_s": 10.5, "declared_s": 10.5, "speech_s": 9.0}');
INSERT INTO "event" VALUES(18,'2025-03-01T12:00:03.000Z',2,'publishing',NULL,'{"n_outputs": 2}');
INSERT INTO "event" VALUES(19,'2025-03-01T12:00:04.000Z',2,'done','no speech detected','{"outcome": "no_speech", "wall_s": 1.5}');
INSERT INTO "event" VALUES(20,'2025-03-01T12:00:03.000Z',3,'running',NULL,'{"attempt": 1, "owner": "first"}');
INSERT INTO "event" VALUES(21,'2025-03-01T12:00:00.000Z',3,'decoded',NULL,'{"audio_s": 10.5, "declared_s": 10.5, "speech_s": 9.0}');
INSERT INTO "event" VALUES(22,'2025-03-01T12:00:04.000Z',3,'publishing',NULL,'{"n_outputs": 2}');
INSERT INTO "event" VALUES(23,'2025-03-01T12:00:05.000Z',3,'done',NULL,'{"outcome": "ok", "wall_s": 1.5}');
INSERT INTO "event" VALUES(24,'2025-03-01T12:00:00.000Z',4,'running',NULL,'{"attempt": 1, "owner": "first"}');
INSERT INTO "event" VALUES(25,'2025-03-01T12:00:00.000Z',4,'failed','no reader finds audio in it','{"attempt": 1}');
INSERT INTO "event" VALUES(26,'2025-03-01T12:00:00.000Z',5,'running',NULL,'{"attempt": 1, "owner": "first"}');
INSERT INTO "event" VALUES(27,'2025-03-01T12:00:00.000Z',5,'engine_died',NULL,'{"engine_deaths": 1}');
INSERT INTO "event" VALUES(28,'2025-03-01T12:00:00.000Z',5,'quarantined','the engine died 2 times','{"attempt": 1}');
INSERT INTO "event" VALUES(29,'2025-03-01T12:00:00.000Z',6,'running',NULL,'{"attempt": 1, "owner": "first"}');
INSERT INTO "event" VALUES(30,'2025-03-01T12:00:00.000Z',6,'waiting','cannot write','{"attempt": 1, "refunded": true}');
INSERT INTO "event" VALUES(31,'2025-03-01T12:00:00.000Z',7,'vanished','the recording was removed or renamed before its turn','{}');
INSERT INTO "event" VALUES(32,'2025-03-01T12:00:07.000Z',8,'running',NULL,'{"attempt": 1, "owner": "first"}');
INSERT INTO "event" VALUES(33,'2025-03-01T12:00:00.000Z',8,'decoded',NULL,'{"audio_s": 10.5, "declared_s": 10.5, "speech_s": 9.0}');
INSERT INTO "event" VALUES(34,'2025-03-01T12:00:08.000Z',9,'running',NULL,'{"attempt": 1, "owner": "first"}');
INSERT INTO "event" VALUES(35,'2025-03-01T12:00:00.000Z',9,'decoded',NULL,'{"audio_s": 10.5, "declared_s": 10.5, "speech_s": 9.0}');
INSERT INTO "event" VALUES(36,'2025-03-01T12:00:09.000Z',9,'publishing',NULL,'{"n_outputs": 2}');
INSERT INTO "event" VALUES(37,'2025-03-01T13:00:00.000Z',11,'queued',NULL,'{}');
CREATE TABLE file (
	id INTEGER NOT NULL, 
	path BLOB NOT NULL, 
	inbox BLOB NOT NULL, 
	path_text TEXT NOT NULL, 
	folder_text TEXT NOT NULL, 
	name_text TEXT NOT NULL, 
	inbox_text TEXT NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (path)
)
 STRICT

;
INSERT INTO "file" VALUES(1,X'2F7372762F696E626F782F6F6E652E776176',X'2F7372762F696E626F78','/srv/inbox/one.wav','/srv/inbox','one.wav','/srv/inbox');
INSERT INTO "file" VALUES(2,X'2F7372762F696E626F782F636166E92E776176',X'2F7372762F696E626F78','/srv/inbox/caf\xe9.wav','/srv/inbox','caf\xe9.wav','/srv/inbox');
INSERT INTO "file" VALUES(3,X'2F7372762F696E626F782F7375622F74776F2E6D7033',X'2F7372762F696E626F78','/srv/inbox/sub/two.mp3','/srv/inbox/sub','two.mp3','/srv/inbox');
INSERT INTO "file" VALUES(4,X'2F7372762F696E626F782F74687265652E6F6767',X'2F7372762F696E626F78','/srv/inbox/three.ogg','/srv/inbox','three.ogg','/srv/inbox');
INSERT INTO "file" VALUES(5,X'2F7372762F696E626F782F6B696C6C65722E6F6767',X'2F7372762F696E626F78','/srv/inbox/killer.ogg','/srv/inbox','killer.ogg','/srv/inbox');
INSERT INTO "file" VALUES(6,X'2F7372762F696E626F782F6C617465722E776176',X'2F7372762F696E626F78','/srv/inbox/later.wav','/srv/inbox','later.wav','/srv/inbox');
INSERT INTO "file" VALUES(7,X'2F7372762F696E626F782F676F6E652E776176',X'2F7372762F696E626F78','/srv/inbox/gone.wav','/srv/inbox','gone.wav','/srv/inbox');
INSERT INTO "file" VALUES(8,X'2F7372762F696E626F782F72756E6E696E672E776176',X'2F7372762F696E626F78','/srv/inbox/running.wav','/srv/inbox','running.wav','/srv/inbox');
INSERT INTO "file" VALUES(9,X'2F7372762F696E626F782F7075626C697368696E672E776176',X'2F7372762F696E626F78','/srv/inbox/publishing.wav','/srv/inbox','publishing.wav','/srv/inbox');
INSERT INTO "file" VALUES(10,X'2F7372762F696E626F782F7175657565642E776176',X'2F7372762F696E626F78','/srv/inbox/queued.wav','/srv/inbox','queued.wav','/srv/inbox');
CREATE TABLE job (
	id INTEGER NOT NULL, 
	file_id INTEGER NOT NULL, 
	state TEXT NOT NULL, 
	outcome TEXT, 
	reason TEXT DEFAULT '' NOT NULL, 
	attempt INTEGER DEFAULT 0 NOT NULL, 
	max_attempts INTEGER NOT NULL, 
	engine_deaths INTEGER DEFAULT 0 NOT NULL, 
	owner TEXT, 
	lease INTEGER DEFAULT 0 NOT NULL, 
	options TEXT NOT NULL, 
	options_digest TEXT NOT NULL, 
	size_bytes INTEGER NOT NULL, 
	mtime_ns INTEGER NOT NULL, 
	ctime_ns INTEGER NOT NULL, 
	source_device INTEGER NOT NULL, 
	source_inode INTEGER NOT NULL, 
	source_sha256 TEXT, 
	audio_s REAL, 
	declared_s REAL, 
	speech_s REAL, 
	wall_s REAL, 
	language TEXT, 
	language_probability REAL, 
	model TEXT, 
	device TEXT, 
	compute_type TEXT, 
	n_segments INTEGER, 
	n_words INTEGER, 
	created_at TEXT NOT NULL, 
	started_at TEXT, 
	finished_at TEXT, 
	not_before_at TEXT, 
	PRIMARY KEY (id), 
	CONSTRAINT known_state CHECK (state IN ('cancelled', 'done', 'failed', 'publishing', 'quarantined', 'queued', 'running', 'vanished', 'waiting')), 
	CONSTRAINT known_outcome CHECK (outcome IN ('duplicate', 'no_speech', 'ok', 'partial')), 
	FOREIGN KEY(file_id) REFERENCES file (id)
)
 STRICT

;
INSERT INTO "job" VALUES(1,1,'done','ok','',1,3,0,'first',1,'{"model": "base", "language": null, "formats": ["txt", "json"]}','digest',1000,0,0,7,100,'0000000000000000000000000000000000000000000000000000000000000001',10.5,10.5,9.0,1.5,'en',0.99,'base','cpu','int8',2,14,'2025-03-01T12:00:00.000Z','2025-03-01T12:00:01.000Z','2025-03-01T12:00:03.000Z',NULL);
INSERT INTO "job" VALUES(2,2,'done','no_speech','no speech detected',1,3,0,'first',1,'{"model": "base", "language": null, "formats": ["txt", "json"]}','digest',1001,1,1,7,101,'0000000000000000000000000000000000000000000000000000000000000002',10.5,10.5,9.0,1.5,'en',0.99,'base','cpu','int8',2,14,'2025-03-01T12:00:00.000Z','2025-03-01T12:00:02.000Z','2025-03-01T12:00:04.000Z',NULL);
INSERT INTO "job" VALUES(3,3,'done','ok','',1,3,0,'first',1,'{"model": "base", "language": null, "formats": ["txt", "json"]}','digest',1002,2,2,7,102,'0000000000000000000000000000000000000000000000000000000000000003',10.5,10.5,9.0,1.5,'en',0.99,'base','cpu','int8',2,14,'2025-03-01T12:00:00.000Z','2025-03-01T12:00:03.000Z','2025-03-01T12:00:05.000Z',NULL);
INSERT INTO "job" VALUES(4,4,'failed',NULL,'no reader finds audio in it',1,3,0,'first',1,'{"model": "base", "language": null, "formats": ["txt", "json"]}','digest',1003,3,3,7,103,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'2025-03-01T12:00:00.000Z','2025-03-01T12:00:00.000Z','2025-03-01T12:00:00.000Z',NULL);
INSERT INTO "job" VALUES(5,5,'quarantined',NULL,'the engine died 2 times',1,3,1,'first',1,'{"model": "base", "language": null, "formats": ["txt", "json"]}','digest',1004,4,4,7,104,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'2025-03-01T12:00:00.000Z','2025-03-01T12:00:00.000Z','2025-03-01T12:00:00.000Z',NULL);
INSERT INTO "job" VALUES(6,6,'waiting',NULL,'cannot write',0,3,0,'first',1,'{"model": "base", "language": null, "formats": ["txt", "json"]}','digest',1005,5,5,7,105,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'2025-03-01T12:00:00.000Z','2025-03-01T12:00:00.000Z',NULL,'2025-03-01T12:01:00.000Z');
INSERT INTO "job" VALUES(7,7,'vanished',NULL,'the recording was removed or renamed before its turn',0,3,0,NULL,0,'{"model": "base", "language": null, "formats": ["txt", "json"]}','digest',1006,6,6,7,106,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'2025-03-01T12:00:00.000Z',NULL,'2025-03-01T12:00:00.000Z',NULL);
INSERT INTO "job" VALUES(8,8,'running',NULL,'',1,3,0,'first',1,'{"model": "base", "language": null, "formats": ["txt", "json"]}','digest',1007,7,7,7,107,'0000000000000000000000000000000000000000000000000000000000000007',10.5,10.5,9.0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'2025-03-01T12:00:00.000Z','2025-03-01T12:00:07.000Z',NULL,NULL);
INSERT INTO "job" VALUES(9,9,'publishing','ok','',1,3,0,'first',1,'{"model": "base", "language": null, "formats": ["txt", "json"]}','digest',1008,8,8,7,108,'0000000000000000000000000000000000000000000000000000000000000008',10.5,10.5,9.0,1.5,'en',0.99,'base','cpu','int8',2,14,'2025-03-01T12:00:00.000Z','2025-03-01T12:00:08.000Z',NULL,NULL);
INSERT INTO "job" VALUES(10,10,'queued',NULL,'',0,3,0,NULL,0,'{"model": "base", "language": null, "formats": ["txt", "json"]}','digest',1009,9,9,7,109,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'2025-03-01T12:00:00.000Z',NULL,NULL,NULL);
INSERT INTO "job" VALUES(11,1,'queued',NULL,'',0,3,0,NULL,0,'{"model": "base", "language": null, "formats": ["txt", "json"]}','digest',1050,50,50,7,150,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'2025-03-01T13:00:00.000Z',NULL,NULL,NULL);
CREATE TABLE output (
	id INTEGER NOT NULL, 
	job_id INTEGER NOT NULL, 
	format TEXT NOT NULL, 
	path BLOB NOT NULL, 
	path_text TEXT NOT NULL, 
	temp_path BLOB NOT NULL, 
	sha256 TEXT NOT NULL, 
	current INTEGER DEFAULT 1 NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(job_id) REFERENCES job (id)
)
 STRICT

;
INSERT INTO "output" VALUES(1,1,'json',X'2F7372762F696E626F782F6F6E652E7761762E6A736F6E','/srv/inbox/one.wav.json',X'2F7372762F696E626F782F6F6E652E7761762E70617274','1111111111111111111111111111111111111111111111111111111111111111',1);
INSERT INTO "output" VALUES(2,1,'txt',X'2F7372762F696E626F782F6F6E652E7761762E747874','/srv/inbox/one.wav.txt',X'2F7372762F696E626F782F6F6E652E7761762E70617274','1111111111111111111111111111111111111111111111111111111111111111',1);
INSERT INTO "output" VALUES(3,2,'json',X'2F7372762F696E626F782F636166E92E7761762E6A736F6E','/srv/inbox/caf\xe9.wav.json',X'2F7372762F696E626F782F636166E92E7761762E70617274','2222222222222222222222222222222222222222222222222222222222222222',1);
INSERT INTO "output" VALUES(4,2,'txt',X'2F7372762F696E626F782F636166E92E7761762E747874','/srv/inbox/caf\xe9.wav.txt',X'2F7372762F696E626F782F636166E92E7761762E70617274','2222222222222222222222222222222222222222222222222222222222222222',1);
INSERT INTO "output" VALUES(5,3,'json',X'2F7372762F696E626F782F7375622F74776F2E6D70332E6A736F6E','/srv/inbox/sub/two.mp3.json',X'2F7372762F696E626F782F7375622F74776F2E6D70332E70617274','3333333333333333333333333333333333333333333333333333333333333333',1);
INSERT INTO "output" VALUES(6,3,'txt',X'2F7372762F696E626F782F7375622F74776F2E6D70332E747874','/srv/inbox/sub/two.mp3.txt',X'2F7372762F696E626F782F7375622F74776F2E6D70332E70617274','3333333333333333333333333333333333333333333333333333333333333333',1);
INSERT INTO "output" VALUES(7,9,'json',X'2F7372762F696E626F782F7075626C697368696E672E7761762E6A736F6E','/srv/inbox/publishing.wav.json',X'2F7372762F696E626F782F7075626C697368696E672E7761762E70617274','8888888888888888888888888888888888888888888888888888888888888888',1);
INSERT INTO "output" VALUES(8,9,'txt',X'2F7372762F696E626F782F7075626C697368696E672E7761762E747874','/srv/inbox/publishing.wav.txt',X'2F7372762F696E626F782F7075626C697368696E672E7761762E70617274','8888888888888888888888888888888888888888888888888888888888888888',1);
CREATE INDEX file_inbox ON file (inbox);
CREATE UNIQUE INDEX one_live_job_per_file ON job (file_id) WHERE state IN ('publishing', 'queued', 'running', 'waiting');
CREATE INDEX job_state ON job (state);
CREATE INDEX job_file ON job (file_id);
CREATE INDEX job_claimable ON job (id) WHERE (+state = 'queued' OR (+state = 'waiting' AND not_before_at IS NOT NULL));
CREATE INDEX output_job ON output (job_id);
CREATE INDEX output_path ON output (path);
CREATE INDEX event_job ON event (job_id);
CREATE VIEW v_jobs AS
SELECT job.id AS job_id,
       file.path_text AS path,
       file.folder_text AS folder,
       file.name_text AS name,
       file.inbox_text AS inbox,
       job.state,
       job.outcome,
       job.reason,
       job.attempt,
       job.max_attempts,
       job.engine_deaths,
       job.size_bytes,
       job.audio_s,
       job.declared_s,
       job.speech_s,
       job.wall_s,
       CASE WHEN job.wall_s > 0 THEN job.audio_s / job.wall_s END AS speed,
       job.language,
       job.language_probability,
       job.model,
       job.device,
       job.compute_type,
       job.n_segments,
       job.n_words,
       job.source_sha256,
       job.options,
       job.created_at,
       job.started_at,
       job.finished_at,
       job.not_before_at
FROM job JOIN file ON file.id = job.file_id;
CREATE VIEW v_history AS
SELECT job_id, path, folder, name, inbox, outcome, reason, attempt, size_bytes, audio_s, declared_s, speech_s, wall_s,
       speed, language, language_probability, model, device, compute_type, n_segments, n_words, source_sha256,
       created_at, started_at, finished_at
FROM v_jobs WHERE state = 'done';
CREATE VIEW v_failures AS
SELECT job_id, path, folder, name, inbox, state, reason, attempt, max_attempts, engine_deaths, size_bytes, audio_s,
       declared_s, created_at, started_at, finished_at
FROM v_jobs WHERE state IN ('failed', 'quarantined');
CREATE VIEW v_events AS
SELECT event.id AS event_id,
       event.at,
       event.job_id,
       file.path_text AS path,
       event.kind,
       event.reason,
       event.detail
FROM event LEFT JOIN job ON job.id = event.job_id LEFT JOIN file ON file.id = job.file_id;
CREATE VIEW v_outputs AS
SELECT output.job_id,
       file.path_text AS recording,
       output.format,
       output.path_text AS path,
       output.sha256,
       job.finished_at
FROM output JOIN job ON job.id = output.job_id JOIN file ON file.id = job.file_id
WHERE output.current = 1 AND job.state = 'done';
PRAGMA user_version = 1;
COMMIT;
