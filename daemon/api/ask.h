/* Unary calls that are answered when the ranks have agreed on control words. Loop thread only. */
#ifndef REIDD_API_ASK_H
#define REIDD_API_ASK_H

#include "daemon/api/api.h"
#include "daemon/words.h"
#include "reid/v1/control.pb-c.h"

#define REIDD_API_AGREE_MS 55000 /* deadline: a step of the slowest network, with room */
#define REIDD_API_REASON_BYTES 1000

/* Replies; the entries are freed after the call. */
typedef void reidd_api_answer(reid_rpc_call *call, int64_t iteration,
                              Reid__V1__JournalEntry **entries, size_t count);

/* `job` is an id, prefix or name. Of the request everything but `who` is set; its texts are copied.
 * Failures are replied, too. */
void reidd_api_ask(reidd_api *api, reid_rpc_call *call, const char *job,
                   reidd_word_request *request, reidd_api_answer *answer);
/* What all requests with a reason and an iteration obey. */
reid_status reidd_api_check_common(const char *reason, int64_t at_iter, reid_error *err);

/* The lines of the journal as messages. Lines that cannot be read are left out. */
Reid__V1__JournalEntry **reidd_api_entries(char *const *lines, size_t count, size_t *ret_count);
void reidd_api_entries_free(Reid__V1__JournalEntry **entries, size_t count);

#endif
