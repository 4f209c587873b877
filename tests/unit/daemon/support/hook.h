/* A client that is a hook, and what rank 0 says of hooks. */
#ifndef REIDD_TEST_HOOK_H
#define REIDD_TEST_HOOK_H

#include "support/rank.h"

typedef struct hook_client {
    reid_rpc_client *client;
    reid_rpc_client_stream *stream;
    reid_error end; /* how the stream ended */
} hook_client;

hook_client hook_connect(test_reidd *t); /* and opens the stream */
void hook_close(hook_client *h);         /* the client dies */
void hook_send(hook_client *h, Reid__V1__HookUp *up);
/* Registers "watch" for after_step with a deadline of 2.5 s. */
void hook_register(hook_client *h, const char *job, bool asynchronous);
void hook_verdict(hook_client *h, int64_t event);
/* The next message, NULL at the end (then `end` says why; OK: code 0). Caller frees. */
Reid__V1__HookDown *hook_next(hook_client *h);
Reid__V1__HookDown *hook_expect(hook_client *h, Reid__V1__HookDown__KindCase kind);
void hook_expect_notice(hook_client *h, Reid__V1__HookState state, const char *said);
void hook_expect_event(hook_client *h, int64_t number);
/* Nothing more comes; closes. */
void hook_expect_end(hook_client *h, reid_status code, const char *said);

/* Rank 0 agrees on the registration that comes next, before iteration 5. The hook's id. */
int64_t rank_agree_on_hook(rank_link *l, const char *folder);
/* Both: a client that is attached. */
int64_t hook_attach(test_reidd *t, rank_link *l, const char *job, bool asynchronous,
                    hook_client *ret_client);

void rank_send_event(rank_link *l, int64_t hook, int64_t number, int scalars);
typedef struct rank_hook {
    int64_t id;
    const char *name, *kind;
    bool enabled;
    const char *last_error;
} rank_hook;
void rank_send_hooks(rank_link *l, int64_t iteration, const rank_hook *hooks, size_t count);
void rank_send_note(rank_link *l, int64_t hook, const char *sentence);
/* The next message is a verdict; caller frees. */
Reid__V1__LinkDown *rank_expect_verdict(rank_link *l, int64_t hook, int64_t event);
void rank_expect_gone(rank_link *l, int64_t hook, const char *said);

#endif
