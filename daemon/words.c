#include "daemon/words.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "base/file.h"
#include "base/log.h"
#include "base/str.h"
#include "daemon/access/identity.h"
#include "daemon/manager_private.h"

struct reidd_word {
    reidd_active *active;
    char id[32];
    reidd_word_request request; /* with texts of its own */
    int64_t wall_ms;
    bool sent;
    reidd_word_done *done;
    void *user;
};

/* ---- life ---- */

static void word_free(reidd_word *word)
{
    for (size_t i = 0; i < word->request.setting_count; i++) {
        free(word->request.settings[i].name);
        free(word->request.settings[i].value);
    }
    free((void *)word->request.settings);
    free((char *)word->request.kind);
    free((char *)word->request.who);
    free((char *)word->request.reason);
    free(word);
}

static void forget(reidd_word *word)
{
    reidd_active *active = word->active;
    for (size_t i = 0; i < active->words.count; i++) {
        if (active->words.items[i] != word)
            continue;
        reid_vec_remove(&active->words, i);
        return;
    }
}

static void answer(reidd_word *word, const reid_error *result, int64_t iteration,
                   char *const *lines, size_t count)
{
    forget(word);
    word->done(result, iteration, lines, count, word->user);
    word_free(word);
}

void reidd_active_drop_words(reidd_active *active)
{
    reid_error why = {0};
    reid_fail(&why, REID_ERR_PRECONDITION, "job %s %s before its ranks agreed on this",
              active->job.id,
              active->job.state == REIDD_PAUSED    ? "was paused"
              : active->job.state == REIDD_PENDING ? "failed, to be restarted,"
                                                   : "ended");
    while (active->words.count > 0)
        answer(active->words.items[0], &why, 0, NULL, 0);
    reid_vec_fini(&active->words);
    free(active->word_note);
    active->word_note = NULL;
}

void reidd_word_cancel(reidd_word *word)
{
    forget(word);
    word_free(word);
}

bool reidd_word_is_sent(const reidd_word *word)
{
    return word->sent;
}

/* ---- asking ---- */

static reidd_word_request copy_request(const reidd_word_request *request)
{
    reidd_word_setting *settings = reid_xcalloc(request->setting_count + 1, sizeof *settings);
    for (size_t i = 0; i < request->setting_count; i++)
        settings[i] = (reidd_word_setting){reid_xstrdup(request->settings[i].name),
                                           reid_xstrdup(request->settings[i].value)};
    return (reidd_word_request){
        .kind = reid_xstrdup(request->kind),
        .settings = settings,
        .setting_count = request->setting_count,
        .at_iter = request->at_iter,
        .who = reid_xstrdup(request->who),
        .reason = reid_xstrdup(request->reason),
        .early = request->early,
    };
}

static reid_status check_trains(reidd_manager *manager, const char *id, bool early,
                                reidd_active **ret_active, reid_error *err)
{
    reidd_active *active = reidd_active_find(manager, id);
    if (!active) {
        reidd_job job = {0};
        REID_TRY(reidd_store_job_load(manager->store, id, &job, err));
        reidd_state state = job.state;
        reidd_job_fini(&job);
        return reid_fail(err, REID_ERR_PRECONDITION, "job %s has already ended: %s", id,
                         reidd_state_name(state));
    }
    const reidd_job *job = &active->job;
    bool waits = early && (job->state == REIDD_PENDING || job->state == REIDD_PAUSED);
    if ((!reidd_state_is_started(job->state) && !waits) || active->ending)
        return reid_fail(err, REID_ERR_PRECONDITION, "job %s is %s; only a running job can do this",
                         id, reidd_state_name(job->state));
    if (job->eval_only)
        return reid_fail(err, REID_ERR_PRECONDITION,
                         "job %s only evaluates: it takes no control words", id);
    if (job->cancel.wanted)
        return reid_fail(err, REID_ERR_PRECONDITION, "job %s is being cancelled", id);
    if (active->words.count >= REIDD_WORDS_WAITING)
        return reid_fail(err, REID_ERR_EXHAUSTED, "%zu requests wait for the ranks of job %s",
                         active->words.count, id);
    *ret_active = active;
    return REID_OK;
}

reid_status reidd_manager_ask(reidd_manager *manager, const char *id,
                              const reidd_word_request *request, reidd_word_done *done, void *user,
                              reidd_word **ret_word, reid_error *err)
{
    reidd_active *active = NULL;
    REID_TRY(check_trains(manager, id, request->early, &active, err));
    reidd_word *word = reid_xcalloc(1, sizeof *word);
    word->active = active;
    word->wall_ms = reid_clock_wall_ms();
    /* unique also across restarts of the daemon */
    snprintf(word->id, sizeof word->id, "%llx-%x", (unsigned long long)word->wall_ms,
             manager->word_count++);
    word->request = copy_request(request);
    word->done = done;
    word->user = user;
    reid_vec_push(&active->words, word);
    *ret_word = word;
    reidd_hub_publish(manager->hub, id, REIDD_CHANGED_WORDS);
    return REID_OK;
}

/* ---- resuming ---- */

static reid_status queue_again(reidd_active *active, const char *detail, reid_error *err)
{
    reidd_job job;
    reidd_job_copy(&job, &active->job);
    reid_status status = reidd_job_resume(&job, err);
    if (status == REID_OK)
        status = reidd_active_save(active->manager, &job, "resume", detail, err);
    if (status != REID_OK) {
        reidd_job_fini(&job);
        return status;
    }
    reidd_job_fini(&active->job);
    active->job = job;
    return REID_OK;
}

reid_status reidd_manager_resume(reidd_manager *manager, const char *id, const char *who,
                                 const char *reason, reid_error *err)
{
    reidd_active *active = reidd_active_find(manager, id);
    if (!active || active->job.state != REIDD_PAUSED) {
        reidd_job_view view = {0};
        REID_TRY(reidd_manager_view(manager, id, &view, err));
        reid_status status =
            reid_fail(err, REID_ERR_PRECONDITION, "job %s is %s; only a PAUSED job can be resumed",
                      id, reidd_state_name(view.job.state));
        reidd_job_view_fini(&view);
        return status;
    }
    REID_AUTOFREE char *detail = reid_xasprintf("%s%s%s", who, *reason ? ": " : "", reason);
    REID_TRY(queue_again(active, detail, err));
    active->attempt_base = active->job.attempt;
    reid_log_info("job resumed id=%s by=%s", id, who);
    active->changed = true;
    reidd_manager_plan_flush(manager);
    reidd_manager_schedule(manager);
    return REID_OK;
}

/* ---- the link ---- */

void reidd_manager_send_words(reidd_manager *manager, const char *id, bool again,
                              bool (*send)(const reidd_word_view *word, void *user), void *user)
{
    reidd_active *active = reidd_active_find(manager, id);
    size_t count = active ? active->words.count : 0, on_the_way = 0;
    for (size_t i = 0; i < count; i++) {
        active->words.items[i]->sent = active->words.items[i]->sent && !again;
        on_the_way += active->words.items[i]->sent;
    }
    for (size_t i = 0; i < count && on_the_way < REIDD_WORDS_ON_THE_WAY; i++) {
        reidd_word *word = active->words.items[i];
        const reidd_word_view view = {word->id, &word->request, word->wall_ms};
        if (word->sent)
            continue;
        word->sent = send(&view, user);
        if (!word->sent)
            return;
        on_the_way++;
    }
}

int64_t reidd_manager_journal_seq(const reidd_manager *manager, const char *id)
{
    const reidd_active *active = reidd_active_find(manager, id);
    return active ? active->journal_seq : 0;
}

static reidd_word *find_word(const reidd_active *active, const char *word_id)
{
    for (size_t i = 0; i < active->words.count; i++)
        if (strcmp(active->words.items[i]->id, word_id) == 0)
            return active->words.items[i];
    return NULL;
}

/* *ret_first is to be freed in any case. */
static reid_status check_lines(char *const *lines, size_t count, int64_t first_seq,
                               reid_journal_entry *ret_first, reid_error *err)
{
    char prev[65], hash[65];
    for (size_t i = 0; i < count; i++) {
        reid_journal_entry entry = {0};
        REID_TRY(reid_journal_parse(lines[i], strlen(lines[i]), &entry, prev, hash, err));
        bool fits = entry.seq == first_seq + (int64_t)i;
        if (i == 0)
            *ret_first = entry;
        else
            reid_journal_entry_fini(&entry);
        if (!fits)
            return reid_fail(err, REID_ERR_INVALID, "a line of the journal has a wrong number");
    }
    return count > 0 ? REID_OK : reid_fail(err, REID_ERR_INVALID, "no lines of the journal");
}

static reid_status store_lines(reidd_active *active, int64_t first_seq, char *const *lines,
                               size_t count, reid_error *err)
{
    reidd_store *store = active->manager->store;
    reid_status status = reidd_store_begin(store, true, err);
    for (size_t i = 0; status == REID_OK && i < count; i++)
        if (first_seq + (int64_t)i > active->journal_seq)
            status = reidd_store_event_add(store, active->job.id, active->job.attempt,
                                           reid_clock_wall_ms(), "journal", lines[i], err);
    if (status == REID_OK)
        status = reidd_store_commit(store, err);
    reidd_store_rollback(store);
    return status;
}

static void note_stop(reidd_active *active, const reid_journal_entry *entry)
{
    if (strcmp(entry->kind, "stop") != 0)
        return;
    free(active->stopped_by);
    active->stopped_by =
        reid_xasprintf("%s%s%s", entry->who, *entry->reason ? ": " : "", entry->reason);
}

static void note_end(reidd_active *active, const reid_journal_entry *entry)
{
    bool pause = strcmp(entry->kind, "pause") == 0;
    note_stop(active, entry);
    if (!pause && strcmp(entry->kind, "stop") != 0)
        return;
    free(active->word_note);
    active->word_note = reid_xasprintf("%s before iteration %lld", pause ? "pausing" : "stopping",
                                       (long long)entry->iteration);
    reidd_active_describe(active);
}

/* One more may be on the way now. */
static void send_next(reidd_manager *manager, const char *id)
{
    const reidd_active *active = reidd_active_find(manager, id);
    for (size_t i = 0; active && i < active->words.count; i++) {
        if (active->words.items[i]->sent)
            continue;
        reidd_hub_publish(manager->hub, id, REIDD_CHANGED_WORDS);
        return;
    }
}

static reid_status take_agreed(reidd_active *active, const char *word_id, int64_t iteration,
                               const reid_journal_entry *first, char *const *lines, size_t count,
                               reid_error *err)
{
    reidd_manager *manager = active->manager;
    const char *id = active->job.id;
    reid_status status = store_lines(active, first->seq, lines, count, err);
    reidd_manager_note_store(manager, status, err);
    REID_TRY(status);
    active->journal_seq = REID_MAX(active->journal_seq, first->seq + (int64_t)count - 1);
    reid_log_info("job control id=%s kind=%s iteration=%lld", id, first->kind,
                  (long long)iteration);
    note_end(active, first);
    if (reid_str_starts(first->kind, "hook_"))
        reidd_active_note_hooks(active, lines, count);
    active->changed = true; /* whoever follows the events is told */
    reidd_manager_plan_flush(manager);
    reidd_word *word = find_word(active, word_id);
    const reid_error fine = {0};
    if (word)
        answer(word, &fine, iteration, lines, count);
    send_next(manager, id);
    return REID_OK;
}

reid_status reidd_manager_agreed(reidd_manager *manager, const char *id, int attempt,
                                 const char *word_id, int64_t iteration, int64_t first_seq,
                                 char *const *lines, size_t count, reid_error *err)
{
    reidd_active *active = NULL;
    reid_journal_entry first = {0};
    REID_TRY(reidd_manager_find_attempt(manager, id, attempt, &active, err));
    reid_status status = check_lines(lines, count, first_seq, &first, err);
    if (status == REID_OK)
        status = take_agreed(active, word_id, iteration, &first, lines, count, err);
    reid_journal_entry_fini(&first);
    return status;
}

reid_status reidd_manager_refused(reidd_manager *manager, const char *id, int attempt,
                                  const char *word_id, reid_status code, const char *sentence,
                                  reid_error *err)
{
    reidd_active *active = NULL;
    REID_TRY(reidd_manager_find_attempt(manager, id, attempt, &active, err));
    reidd_word *word = find_word(active, word_id);
    reid_error why = {0};
    reid_fail(&why, code == REID_OK ? REID_ERR_INTERNAL : code, "%s", sentence);
    if (word)
        answer(word, &why, 0, NULL, 0);
    send_next(manager, id);
    return REID_OK;
}

/* ---- the journal ---- */

static void take_seq(int attempt, int64_t wall_ms, const char *kind, const char *detail, void *user)
{
    reidd_active *active = user;
    reid_journal_entry entry = {0};
    char prev[65], hash[65];
    if (strcmp(kind, "journal") != 0 || attempt < active->job.restart.origin ||
        reid_journal_parse(detail, strlen(detail), &entry, prev, hash, NULL) != REID_OK)
        return;
    active->journal_seq = REID_MAX(active->journal_seq, entry.seq);
    note_stop(active, &entry);
    reid_journal_entry_fini(&entry);
}

reid_status reidd_active_load_journal(reidd_active *active, reid_error *err)
{
    return reidd_store_event_list(active->manager->store, active->job.id, take_seq, active, err);
}

typedef struct comparison {
    reidd_audit *audit;
    int origin; /* attempts before it had a journal that was moved aside */
} comparison;

static void compare(int attempt, int64_t wall_ms, const char *kind, const char *detail, void *user)
{
    const comparison *with = user;
    if (strcmp(kind, "journal") == 0 && attempt >= with->origin)
        reid_journal_compare(&with->audit->entries, detail, &with->audit->fault);
}

static reid_status read_journal(reidd_audit *audit, uid_t uid, reid_error *err)
{
    REIDD_AS_USER(uid);
    return reid_journal_read(audit->path, &audit->entries, &audit->fault, err);
}

reid_status reidd_manager_audit(reidd_manager *manager, const char *id, reidd_audit *ret_audit,
                                reid_error *err)
{
    reidd_job_view view = {0};
    reidd_audit audit = {0};
    REID_TRY(reidd_manager_view(manager, id, &view, err));
    audit.path = reid_path_join(view.job.output_dir, REID_JOURNAL_FILE);
    comparison with = {&audit, view.job.restart.origin};
    uid_t uid = (uid_t)view.job.uid;
    reidd_job_view_fini(&view);
    reid_status status = read_journal(&audit, uid, err);
    if (status == REID_OK)
        status = reidd_store_event_list(manager->store, id, compare, &with, err);
    if (status != REID_OK) {
        reidd_audit_fini(&audit);
        return status;
    }
    *ret_audit = audit;
    return REID_OK;
}

void reidd_audit_fini(reidd_audit *audit)
{
    free(audit->path);
    reid_journal_entries_fini(&audit->entries);
    *audit = (reidd_audit){0};
}
