/* Inside of the server: what server.c, listen.c, conn.c, call.c, health.c and reflection.c share.
 */
#ifndef REID_RPC_SERVER_IMPL_H
#define REID_RPC_SERVER_IMPL_H

#include "base/vec.h"
#include "rpc/frame.h"
#include "rpc/server.h"
#include "rpc/wire.h"

typedef struct reid_rpc_row {
    const reid_rpc_method *method;
    void *service;
} reid_rpc_row;

/* Allows `rate` events a second, ten times as many at once. */
typedef struct reid_rpc_bucket {
    double level;
    uint64_t updated_ms;
} reid_rpc_bucket;

/* The connections of one client at a listener, see crowd.c. */
typedef struct reid_rpc_party {
    reid_rpc_node node;       /* in the listener's row */
    reid_rpc_peer peer;       /* of its first connection */
    reid_rpc_node idle, busy; /* connections without and with a call, those first that were first */
    size_t count;
} reid_rpc_party;

enum { REID_RPC_PARTY_ROWS = 256 };

typedef struct reid_rpc_listener {
    reid_rpc_node node; /* in the server's list until the server's end: calls refer to the path */
    reid_rpc_server *server;
    uv_poll_t poll;
    reid_rpc_alarm retry;                       /* after running out of descriptors */
    char *path;                                 /* of TCP "host:port" */
    reid_rpc_tls *tls;                          /* NULL: a Unix socket */
    int fd;                                     /* -1: no longer listening */
    size_t conn_count, handshakes;              /* `handshakes`: of them not begun yet */
    reid_rpc_node parties[REID_RPC_PARTY_ROWS]; /* by a hash of who it is */
    uint64_t turns;           /* goes up with each connection that loses its last call */
    reid_rpc_bucket accepts;  /* over TCP */
    reid_rpc_bucket warnings; /* of peers that were refused or dropped */
    unsigned unwarned;        /* since the last warning */
    dev_t device;
    ino_t inode;
} reid_rpc_listener;

/* Answers that wait for their readers, see room.c. */
typedef struct reid_rpc_room {
    reid_rpc_quota quota;
    reid_rpc_node waiting; /* calls that were refused for lack of it */
    bool lacking;          /* somebody was since the last look */
    reid_rpc_task task;
    reid_rpc_alarm alarm;
} reid_rpc_room;

typedef struct reid_rpc_conn {
    reid_rpc_wire wire;
    reid_rpc_node node; /* in the server's list */
    reid_rpc_server *server;
    reid_rpc_listener *listener;
    reid_rpc_peer peer;
    reid_rpc_party *party; /* NULL: not told yet who it is, or ended */
    reid_rpc_node in_party;
    uint64_t idle_since; /* the listener's turn */
    reid_rpc_node calls;
    reid_rpc_alarm alarm; /* first: the preface must come; last: the bytes must go */
    reid_rpc_bucket resets, controls;
    reid_rpc_sieve sieve;
    uint64_t seen_bytes_out; /* at the last look of room.c */
    bool began;              /* the client's SETTINGS came */
    bool flooding;           /* thrown out */
} reid_rpc_conn;

struct reid_rpc_server {
    reid_rpc_pump pump;
    reid_rpc_limits limits;
    nghttp2_session_callbacks *callbacks;
    nghttp2_option *option;
    REID_VEC(reid_rpc_row) rows; /* sorted by path */
    reid_rpc_node listeners, conns;
    reid_rpc_node lost_calls; /* of closed connections, not yet reported */
    size_t conn_count, call_count;
    reid_rpc_quota receive;
    reid_rpc_room room;
    reid_rpc_guard *guard;
    void *guard_user;
    struct reid_rpc_health *health;
    struct reid_rpc_reflection *reflection;
    bool draining, done, freed;
    reid_rpc_alarm grace, trim;
    size_t closed; /* connections since memory was given back */
    reid_rpc_task done_task;
    void (*on_done)(void *user);
    void *done_user;
    unsigned open_handles; /* wires, listeners' polls, the pump */
};

struct reid_rpc_call {
    reid_rpc_node node; /* in the connection's list, or in lost_calls */
    reid_rpc_server *server;
    reid_rpc_conn *conn; /* NULL when `detached` */
    const reid_rpc_listener *listener;
    reid_rpc_peer peer;
    int32_t stream_id;
    const reid_rpc_row *row;
    reid_rpc_task task;
    reid_rpc_alarm alarm; /* the deadline, then the lingering */
    size_t lingering_bytes;
    reid_rpc_inbox inbox;
    reid_rpc_outbox outbox;
    reid_rpc_node in_line; /* for room in the outbox */
    uint64_t seen_taken;   /* of the outbox at the last look of room.c */
    uint8_t *held;         /* the request of a one-request call, until the client has half-closed */
    size_t held_bytes;
    uint64_t timeout_ms; /* UINT64_MAX: none */
    size_t header_bytes;
    char *path, *content_type; /* as far as needed for a sentence */
    bool is_post, bad_timeout, bad_caller;
    bool got_request, half_closed; /* receiving side */
    bool headers_sent, deferred;   /* sending side */
    unsigned answers;
    bool begun;    /* the handler has seen it */
    bool ended;    /* status is decided */
    bool reported; /* on_close was called */
    bool detached; /* its HTTP/2 stream is gone */
    reid_status status;
    int code, http_status;
    char *sentence; /* percent-encoded */
    void *user;
    void (*on_close)(reid_rpc_call *call);
    void (*on_drain)(reid_rpc_call *call);
};

/* server.c */
const reid_rpc_row *reid_rpc_server_find(const reid_rpc_server *server, const char *path,
                                         size_t length);
bool reid_rpc_server_has_service(const reid_rpc_server *server, const char *name);
void reid_rpc_server_check_done(reid_rpc_server *server); /* a connection or a call went away */
void reid_rpc_server_conn_closed(reid_rpc_server *server);
void reid_rpc_server_handle_closed(reid_rpc_server *server);

/* listen.c */
void reid_rpc_listener_close(
    reid_rpc_listener *listener); /* stops listening and removes the file */
void reid_rpc_listener_free(reid_rpc_listener *listener);

/* Whether a line about bad peers may be logged: not every one can be. `more` gets how many were
 * not, such as " more=7", or nothing. */
enum { REID_RPC_MORE_BYTES = 32 };
bool reid_rpc_listener_may_warn(reid_rpc_listener *listener, char more[REID_RPC_MORE_BYTES]);

/* conn.c */
bool reid_rpc_bucket_take(reid_rpc_bucket *bucket, uint64_t now_ms, double rate);
/* `peer` as far as it is known before TLS. */
void reid_rpc_conn_new(reid_rpc_listener *listener, int own_fd, const reid_rpc_peer *peer);
void reid_rpc_conn_drain(reid_rpc_conn *conn);   /* GOAWAY; closes when its calls are gone */
void reid_rpc_conn_abandon(reid_rpc_conn *conn); /* closes at once; its calls are lost */
nghttp2_session_callbacks *reid_rpc_conn_callbacks(void);
enum { REID_RPC_WHO_BYTES = 160 };
const char *reid_rpc_conn_describe(const reid_rpc_conn *conn,
                                   char buffer[REID_RPC_WHO_BYTES]); /* for the log */

/* crowd.c */
void reid_rpc_crowd_init(reid_rpc_listener *listener);
/* Why one more connection, of `peer`, is one too many; NULL when it may be: another one was ended
 * for it where there was no room. */
const char *reid_rpc_crowd_excess(const reid_rpc_listener *listener, const reid_rpc_peer *peer,
                                  unsigned *ret_limit);
void reid_rpc_crowd_join(reid_rpc_conn *conn); /* from when it is known who it is */
void reid_rpc_crowd_look(
    reid_rpc_conn *conn); /* it may have got its first call, or lost its last */
void reid_rpc_crowd_leave(reid_rpc_conn *conn); /* nothing when it has not joined */
/* Ends the oldest that has not begun HTTP/2 yet. */
void reid_rpc_crowd_drop_beginner(const reid_rpc_listener *listener);

/* room.c */
void reid_rpc_room_init(reid_rpc_room *room, uint64_t limit);
void reid_rpc_room_end(reid_rpc_server *server); /* nobody is told any more */
void reid_rpc_room_open(reid_rpc_call *call);    /* its outbox counts from here on */
void reid_rpc_room_refused(reid_rpc_call *call); /* on_drain comes when there is room again */

/* call.c */
reid_rpc_call *reid_rpc_call_new(reid_rpc_conn *conn, int32_t stream_id);
void reid_rpc_call_header(reid_rpc_call *call, const char *name, size_t name_length,
                          const char *value, size_t value_length);
void reid_rpc_call_begin(reid_rpc_call *call);
void reid_rpc_call_receive(reid_rpc_call *call, const uint8_t *bytes, size_t size, bool last);
void reid_rpc_call_half_closed(reid_rpc_call *call);
void reid_rpc_call_detach(reid_rpc_call *call, bool lost); /* the stream is gone */
/* Ends with `status`, without the messages that still wait when `drop` is set. */
void reid_rpc_call_end(reid_rpc_call *call, reid_status status, const char *sentence, bool drop);
/* Ends it and forgets what waits; for the client the stream is reset. */
void reid_rpc_call_reset(reid_rpc_call *call, const char *sentence);
void reid_rpc_call_report_now(reid_rpc_call *call); /* for the end of the server */

/* health.c, reflection.c */
void reid_rpc_health_stop(struct reid_rpc_health *health);
void reid_rpc_health_free(struct reid_rpc_health *health);
void reid_rpc_reflection_free(struct reid_rpc_reflection *reflection);

#endif
