#include "daemon/api/ask.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "daemon/api/convert.h"

typedef struct word_call {
    reid_rpc_call *call;
    reidd_api_answer *answer;
    reidd_word *word; /* NULL: answered */
} word_call;

Reid__V1__JournalEntry **reidd_api_entries(char *const *lines, size_t count, size_t *ret_count)
{
    Reid__V1__JournalEntry **entries = reid_xcalloc(count + 1, sizeof(Reid__V1__JournalEntry *));
    *ret_count = 0;
    for (size_t i = 0; i < count; i++) {
        reid_journal_entry entry = {0};
        char prev[65], hash[65];
        if (reid_journal_parse(lines[i], strlen(lines[i]), &entry, prev, hash, NULL) != REID_OK)
            continue;
        entries[(*ret_count)++] = reidd_convert_entry(&entry);
        reid_journal_entry_fini(&entry);
    }
    return entries;
}

void reidd_api_entries_free(Reid__V1__JournalEntry **entries, size_t count)
{
    for (size_t i = 0; i < count; i++)
        reid__v1__journal_entry__free_unpacked(entries[i], NULL);
    free((void *)entries);
}

static void on_answered(const reid_error *result, int64_t iteration, char *const *lines,
                        size_t count, void *user)
{
    word_call *waiting = user;
    waiting->word = NULL;
    if (result->code != REID_OK) {
        reid_rpc_call_fail(waiting->call, result);
        return;
    }
    size_t found = 0;
    Reid__V1__JournalEntry **entries = reidd_api_entries(lines, count, &found);
    waiting->answer(waiting->call, iteration, entries, found);
    reidd_api_entries_free(entries, found);
}

static void on_close(reid_rpc_call *call)
{
    word_call *waiting = reid_rpc_call_user(call);
    if (waiting->word)
        reidd_word_cancel(waiting->word);
    free(waiting);
}

reid_status reidd_api_check_common(const char *reason, int64_t at_iter, reid_error *err)
{
    if (strlen(reason) > REIDD_API_REASON_BYTES)
        return reid_fail(err, REID_ERR_INVALID, "a reason has at most %d bytes",
                         REIDD_API_REASON_BYTES);
    if (at_iter < 0)
        return reid_fail(err, REID_ERR_INVALID, "the iteration is %lld, but must not be negative",
                         (long long)at_iter);
    return REID_OK;
}

void reidd_api_ask(reidd_api *api, reid_rpc_call *call, const char *job,
                   reidd_word_request *request, reidd_api_answer *answer)
{
    char id[16];
    reid_error err = {0};
    reidd_caller caller;
    reidd_api_caller(api, call, &caller);
    REID_AUTOFREE char *who = reidd_convert_text(caller.name);
    REID_AUTOFREE char *reason = reidd_convert_text(request->reason);
    reid_status status = reidd_api_check_common(request->reason, request->at_iter, &err);
    if (status == REID_OK)
        status = reidd_api_find_own(api, call, job, id, &err);
    request->who = who;
    request->reason = reason;
    word_call *waiting = reid_xcalloc(1, sizeof *waiting);
    waiting->call = call;
    waiting->answer = answer;
    if (status == REID_OK)
        status = reidd_manager_ask(api->manager, id, request, on_answered, waiting, &waiting->word,
                                   &err);
    if (status != REID_OK) {
        free(waiting);
        reid_rpc_call_fail(call, &err);
        return;
    }
    reid_rpc_call_set_user(call, waiting);
    reid_rpc_call_on_close(call, on_close);
}
