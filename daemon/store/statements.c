#include "daemon/store/private.h"

#define JOB_KEY "(SELECT key FROM jobs WHERE id = ?1)"
#define JOB_COLUMNS                                                                                \
    "id, name, user, uid, output_dir, ranks, resume, eval_only, state, phase, attempt,"            \
    " submitted_ms, started_ms, ended_ms, last_progress_ms, iteration, max_iteration, epoch,"      \
    " max_epoch, eta_s, images_per_s, failure, failure_rank, failure_exit_code, failure_signal,"   \
    " cancel_wanted, cancel_reason, cancel_grace_ms, exit_code, fork_from, fork_iter,"             \
    " restarts_allowed, restarts_done, restart_backoff_ms, restart_at_ms, restart_origin,"         \
    " priority, max_time_ms, after, gpu_type, held, no_preempt, placement, avoid, yields,"         \
    " preemptions, ran_ms, limit_reached, ranks_wanted, ranks_fewer"

const char *const reidd_sql_text[REIDD_SQL_COUNT] = {
    [REIDD_SQL_JOB_ADD] = "INSERT INTO jobs(" JOB_COLUMNS ") VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,"
                          "?10,?11,?12,?13,?14,?15,?16,?17,?18,?19,?20,?21,?22,?23,?24,?25,?26,"
                          "?27,?28,?29,?30,?31,?32,?33,?34,?35,?36,?37,?38,?39,?40,?41,?42,?43,"
                          "?44,?45,?46,?47,?48,?49,?50)",
    /* The same numbers of parameters as above; what is fixed at submit is not written again. */
    [REIDD_SQL_JOB_SAVE] =
        "UPDATE jobs SET ranks=?6, resume=?7, state=?9, phase=?10, attempt=?11, submitted_ms=?12, "
        "started_ms=?13,"
        " ended_ms=?14, last_progress_ms=?15, iteration=?16, max_iteration=?17, epoch=?18,"
        " max_epoch=?19, eta_s=?20, images_per_s=?21, failure=?22, failure_rank=?23,"
        " failure_exit_code=?24, failure_signal=?25, cancel_wanted=?26, cancel_reason=?27,"
        " cancel_grace_ms=?28, exit_code=?29, restarts_done=?33, restart_at_ms=?35,"
        " restart_origin=?36, priority=?37, max_time_ms=?38, held=?41, placement=?43, avoid=?44,"
        " yields=?45, preemptions=?46, ran_ms=?47, limit_reached=?48 WHERE id=?1",
    /* A job that is to go has state 0. */
    [REIDD_SQL_JOB_LOAD] = "SELECT " JOB_COLUMNS " FROM jobs WHERE id = ?1 AND state > 0",
    [REIDD_SQL_JOB_BY_NAME] =
        "SELECT id FROM jobs WHERE name = ?1 AND state > 0 ORDER BY key DESC LIMIT 1",
    /* ?2 is the prefix with its last byte one higher: a range of the index. */
    [REIDD_SQL_JOB_BY_PREFIX] =
        "SELECT id FROM jobs WHERE id >= ?1 AND id < ?2 AND state > 0 ORDER BY id LIMIT 4",
    /* ?3 may have been deleted since; then those follow that were submitted before it. */
    [REIDD_SQL_JOB_NEWEST] =
        "SELECT " JOB_COLUMNS " FROM jobs WHERE (?1 >> state) & 1 AND state > 0"
        " AND key < CASE WHEN ?3 IS NULL THEN 9223372036854775807 ELSE coalesce("
        "(SELECT key + (id < ?3) FROM jobs WHERE id <= ?3 ORDER BY id DESC LIMIT 1), 0) END"
        " ORDER BY key DESC LIMIT ?2",
    [REIDD_SQL_JOB_OLDEST] =
        "SELECT " JOB_COLUMNS " FROM jobs WHERE (?1 >> state) & 1 AND state > 0"
        " ORDER BY key",
    [REIDD_SQL_JOB_LAST_ID] = "SELECT max(id) FROM (SELECT max(id) AS id FROM jobs UNION ALL "
                              "SELECT last_id FROM removed)",
    /* The condition is that of the index jobs_by_end. */
    [REIDD_SQL_ENDED_COUNT] = "SELECT count(*) FROM jobs WHERE state IN (4,5,6)",
    [REIDD_SQL_ENDED_OLDEST] =
        "SELECT id, ended_ms FROM jobs INDEXED BY jobs_by_end WHERE state IN (4,5,6)"
        " ORDER BY ended_ms",
    [REIDD_SQL_REMOVE] = "UPDATE jobs SET state = 0 WHERE id = ?1 AND state IN (4,5,6)",
    [REIDD_SQL_REMOVED_NEXT] = "SELECT id FROM jobs WHERE state = 0 LIMIT 1",
    [REIDD_SQL_IS_REMOVED] = "SELECT id FROM jobs WHERE id = ?1 AND state = 0",
    [REIDD_SQL_REMOVED_ID] =
        "INSERT INTO removed(one, last_id) VALUES (1, ?1)"
        " ON CONFLICT(one) DO UPDATE SET last_id = max(last_id, excluded.last_id)",
    [REIDD_SQL_ROW_REMOVE] = "DELETE FROM metrics WHERE job = " JOB_KEY " AND (attempt, seq) IN"
                             " (SELECT attempt, seq FROM metrics WHERE job = " JOB_KEY " LIMIT ?2)",
    [REIDD_SQL_EVENT_REMOVE] = "DELETE FROM events WHERE key IN"
                               " (SELECT key FROM events WHERE job = " JOB_KEY " LIMIT ?2)",
    [REIDD_SQL_LATEST_REMOVE] = "DELETE FROM latest WHERE job = " JOB_KEY,
    [REIDD_SQL_USAGE_KEEP] =
        "INSERT INTO usage(ended_ms, started_ms, user, ranks)"
        " SELECT a.ended_ms, a.started_ms, j.user, j.ranks FROM attempts a"
        " JOIN jobs j ON j.key = a.job WHERE a.job = " JOB_KEY " AND a.ended_ms > ?2",
    [REIDD_SQL_USAGE_REMOVE] = "DELETE FROM usage WHERE ended_ms <= ?1",
    [REIDD_SQL_ATTEMPT_REMOVE] = "DELETE FROM attempts WHERE job = " JOB_KEY,
    [REIDD_SQL_CONFIG_REMOVE] = "DELETE FROM configs WHERE job = " JOB_KEY,
    [REIDD_SQL_JOB_REMOVE] = "DELETE FROM jobs WHERE id = ?1 AND state = 0",
    [REIDD_SQL_ATTEMPT_ADD] =
        "INSERT INTO attempts(job, attempt, ticket, started_ms) VALUES (" JOB_KEY ",?2,?3,?4)"
        " ON CONFLICT(job, attempt) DO UPDATE SET ticket=excluded.ticket,"
        " started_ms=excluded.started_ms",
    [REIDD_SQL_ATTEMPT_TICKET] =
        "SELECT ticket FROM attempts WHERE job = " JOB_KEY " AND attempt = ?2",
    [REIDD_SQL_ATTEMPT_END] = "UPDATE attempts SET exit_code=?3, signal=?4, rank=?5, sentence=?6,"
                              " ended_ms=?7 WHERE job = " JOB_KEY " AND attempt = ?2",
    [REIDD_SQL_USAGE] = "SELECT j.user, j.ranks, a.started_ms, a.ended_ms FROM attempts a"
                        " JOIN jobs j ON j.key = a.job WHERE a.ended_ms > ?1 UNION ALL"
                        " SELECT user, ranks, started_ms, ended_ms FROM usage"
                        " WHERE ended_ms > ?1 ORDER BY 4",
    [REIDD_SQL_EVENT_ADD] = "INSERT INTO events(job, attempt, wall_ms, kind, detail) VALUES"
                            " (" JOB_KEY ",?2,?3,?4,?5)",
    [REIDD_SQL_EVENT_LIST] = "SELECT attempt, wall_ms, kind, detail FROM events"
                             " WHERE job = " JOB_KEY " ORDER BY key",
    [REIDD_SQL_EVENT_AFTER] = "SELECT key, attempt, wall_ms, kind, detail FROM events"
                              " WHERE job = " JOB_KEY " AND key > ?2 ORDER BY key",
    [REIDD_SQL_ROW_ADD] =
        "INSERT INTO metrics(job, attempt, seq, row) VALUES (" JOB_KEY ",?2,?3,?4)"
        " ON CONFLICT DO NOTHING",
    [REIDD_SQL_ROW_LAST] =
        "SELECT coalesce(max(seq), 0) FROM metrics WHERE job = " JOB_KEY " AND attempt = ?2",
    [REIDD_SQL_ROW_AFTER] = "SELECT attempt, seq, row FROM metrics WHERE job = " JOB_KEY
                            " AND (attempt, seq) > (?2, ?3) ORDER BY attempt, seq",
    [REIDD_SQL_LATEST_SET] = "INSERT INTO latest(job, name, value) VALUES (" JOB_KEY ",?2,?3)"
                             " ON CONFLICT(job, name) DO UPDATE SET value=excluded.value",
    [REIDD_SQL_LATEST_LIST] =
        "SELECT name, value FROM latest WHERE job = " JOB_KEY " ORDER BY name",
    [REIDD_SQL_NODE_SAVE] =
        "INSERT INTO nodes(name, slots, gpu_type, drained, reason, who, wall_ms)"
        " VALUES (?1,?2,?3,?4,?5,?6,?7) ON CONFLICT(name) DO UPDATE SET slots=excluded.slots,"
        " gpu_type=excluded.gpu_type, drained=excluded.drained, reason=excluded.reason,"
        " who=excluded.who, wall_ms=excluded.wall_ms",
    [REIDD_SQL_CONFIG_ADD] = "INSERT INTO configs(job, yaml) VALUES (" JOB_KEY ",?2)",
    [REIDD_SQL_CONFIG_LOAD] = "SELECT yaml FROM configs WHERE job = " JOB_KEY,
    [REIDD_SQL_NODE_LIST] =
        "SELECT name, slots, gpu_type, drained, reason, who, wall_ms FROM nodes ORDER BY name",
    [REIDD_SQL_HEAD_SAVE] =
        "INSERT INTO head(one, name, generation) VALUES (1, ?1, ?2)"
        " ON CONFLICT(one) DO UPDATE SET name=excluded.name, generation=excluded.generation",
    [REIDD_SQL_HEAD_LOAD] = "SELECT name, generation FROM head",
};
