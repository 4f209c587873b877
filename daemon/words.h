/* Control words on their way: from a client's request to rank 0 of the running attempt, and back as
 * agreed or refused. And the job's journal as the daemon knows it.
 *
 * Requests are kept until they are answered: rank 0's link takes them when it is told
 * (REIDD_CHANGED_WORDS), and again after every hello. Lines of the journal that the rank tells are
 * kept in the job's diary (kind "journal") before anybody is told; the audit compares the file with
 * them. Loop thread only.
 */
#ifndef REIDD_WORDS_H
#define REIDD_WORDS_H

#include "base/journal.h"
#include "daemon/manager.h"

#define REIDD_WORDS_WAITING 256   /* unanswered requests of one job */
#define REIDD_WORDS_ON_THE_WAY 32 /* of them with rank 0; it takes up to 64 */

typedef struct reidd_word_setting {
    char *name, *value;
} reidd_word_setting;

typedef struct reidd_word_request {
    const char *kind; /* a row of engine/control_words.c, such as "set" */
    const reidd_word_setting *settings;
    size_t setting_count;
    int64_t at_iter; /* 0: as soon as possible */
    const char *who, *reason;
    bool early; /* a job that waits in the queue gets it when it starts */
} reidd_word_request;

typedef struct reidd_word reidd_word;

/* `result->code` OK: agreed, with the lines of the journal. Called once, unless cancelled. */
typedef void reidd_word_done(const reid_error *result, int64_t iteration, char *const *lines,
                             size_t count, void *user);

/* PRECONDITION when the job does not train now. EXHAUSTED: too many wait. */
reid_status reidd_manager_ask(reidd_manager *manager, const char *id,
                              const reidd_word_request *request, reidd_word_done *done, void *user,
                              reidd_word **ret_word, reid_error *err);
/* Whoever asked has gone. What rank 0 knows already takes effect all the same. */
void reidd_word_cancel(reidd_word *word);
bool reidd_word_is_sent(const reidd_word *word); /* rank 0 may know it */

/* PAUSED → PENDING, to go on from its checkpoint. */
reid_status reidd_manager_resume(reidd_manager *manager, const char *id, const char *who,
                                 const char *reason, reid_error *err);

/* ---- for the link ---- */

typedef struct reidd_word_view {
    const char *id;
    const reidd_word_request *request;
    int64_t wall_ms;
} reidd_word_view;
/* Calls `send` for what has not been sent until it returns false; `again`: all that is unanswered.
 */
void reidd_manager_send_words(reidd_manager *manager, const char *id, bool again,
                              bool (*send)(const reidd_word_view *word, void *user), void *user);
/* The last line of the journal that is stored. */
int64_t reidd_manager_journal_seq(const reidd_manager *manager, const char *id);
/* PRECONDITION when the attempt is over. When the store cannot be written the rank shall say it
 * again. */
reid_status reidd_manager_agreed(reidd_manager *manager, const char *id, int attempt,
                                 const char *word_id, int64_t iteration, int64_t first_seq,
                                 char *const *lines, size_t count, reid_error *err);
reid_status reidd_manager_refused(reidd_manager *manager, const char *id, int attempt,
                                  const char *word_id, reid_status code, const char *sentence,
                                  reid_error *err);

/* ---- the audit ---- */

typedef struct reidd_audit {
    char *path;
    reid_journal_entries entries; /* up to the fault */
    reid_journal_fault fault;     /* line 0: sound */
} reidd_audit;
reid_status reidd_manager_audit(reidd_manager *manager, const char *id, reidd_audit *ret_audit,
                                reid_error *err);
void reidd_audit_fini(reidd_audit *audit);

#endif
