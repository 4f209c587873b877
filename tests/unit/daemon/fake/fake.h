/* What the files of the scripted trainer share. */
#ifndef REIDD_FAKE_H
#define REIDD_FAKE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/recordfile.h"
#include "rpc/client.h"

typedef struct fake {
    char *folder; /* OUTPUT_DIR */
    int rank, world;
    bool resume;
    long only_attempt; /* 0: any */
    int64_t first;     /* iteration of the first row */
    reid_record_file *spool;
    int64_t seq, stored; /* rows: written, and known to be stored by reidd */
    reid_rpc_client *client;
    reid_rpc_client_stream *stream; /* NULL: no link */
} fake;

_Noreturn void die(const char *what);
const char *need_env(const char *name);
bool try_link(fake *f); /* whether it was accepted */
/* Sends what is queued and takes what comes, for timeout_ms at most. */
void take_down(fake *f, uint32_t timeout_ms, bool *ret_accepted);
void send_phase(fake *f, int number);
void send_progress(fake *f, const char *numbers); /* "3 10" */
void make_rows(fake *f, int64_t count);
void send_rows_after(fake *f, int64_t seq);

/* "N MS PERIOD": N iterations of MS milliseconds, a checkpoint every PERIOD iterations and at TERM.
 * Begins at the last checkpoint when it is started with --resume. Each rank prints "line I" for
 * each iteration. What a killer must find again lies in OUTPUT_DIR:
 *
 *     written-ATTEMPT.RANK   lines printed and, of rank 0, rows in the spool by then
 *     stored-ATTEMPT         rows that reidd has acknowledged
 *     last_checkpoint        iteration of the newest checkpoint
 *     violation              a sentence: it was started in a way that loses work
 */
void train(fake *f, const char *numbers);

#endif
