/* The test as rank 0: a link to the daemon's private socket. */
#ifndef REIDD_TEST_RANK_H
#define REIDD_TEST_RANK_H

#include "base/journal.h"
#include "reid/v1/link.pb-c.h"
#include "support/reidd.h"

typedef struct rank_link {
    reid_rpc_client *client;
    reid_rpc_client_stream *stream;
    reid_error end; /* how it ended */
} rank_link;

/* A job whose rank waits, and the ticket from its environment. Its id (caller frees). */
char *rank_start_job(test_reidd *t, char ticket[64]);
#define RANK_SCRIPT "on-term 143\nmark up\nwait never\n" /* what that job does */
/* The environment's value for job number N, whose rank has made the mark "up". */
void rank_environment(test_reidd *t, int number, const char *name, char *ret_value, size_t size);

rank_link rank_open(test_reidd *t);
void rank_close(rank_link *l);
/* Queued; goes out while the test waits for an answer on this link, or with rank_push. */
void rank_send(rank_link *l, Reid__V1__LinkUp *up);
void rank_push(rank_link *l);
void rank_hello(rank_link *l, const char *id, int attempt, const char *ticket, int rank, int world);
/* All of it, until it is accepted with this many rows. */
rank_link rank_join(test_reidd *t, const char *id, const char *ticket, int64_t stored);
/* The next answer, or NULL at the end of the link (then `end` says why). */
Reid__V1__LinkDown *rank_next(rank_link *l);
void rank_expect_end(rank_link *l, reid_status code, const char *said);
void rank_expect_accept(rank_link *l, int64_t stored);

/* The next message is a word of this kind; caller frees. */
Reid__V1__LinkDown *rank_expect_word(rank_link *l, const char *kind);
/* Writes the journal in this folder as rank 0 does, and tells. The number of the entry. */
int64_t rank_agree(rank_link *l, const char *folder, const char *word, const char *kind,
                   const char *name, const char *old_value, const char *new_value,
                   int64_t iteration, const char *reason);
void rank_refuse(rank_link *l, const char *word, int code, const char *sentence);

/* The blocking client works only while somebody waits: a whole call sends what is queued. */
void test_let_it_send(reid_rpc_client *client);

#endif
