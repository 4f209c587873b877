/* What cluster.c (who is who), head.c (the members, as the head sees them) and member.c (the way to
 * the head) share. */
#ifndef REIDD_CLUSTER_PRIVATE_H
#define REIDD_CLUSTER_PRIVATE_H

#include "base/vec.h"
#include "daemon/cluster/clock.h"
#include "daemon/cluster/cluster.h"
#include "daemon/cluster/roster.h"
#include "daemon/cluster/succession.h"

/* A Join that somebody has opened at the head. */
typedef struct reidd_join {
    reidd_cluster *cluster;
    reid_rpc_call *call;
    struct reidd_remote *remote; /* NULL until its hello, and after it was replaced */
    int64_t heard_ms;            /* monotonic */
    int64_t beat_heard;
    struct reidd_join *before, *after;
} reidd_join;

/* Whom it follows (succession.h). */
typedef enum reidd_asked { REIDD_ASKED_OPEN, REIDD_ASKED_FAILED, REIDD_ASKED_ANSWERED } reidd_asked;

/* A node, as the head knows it; row 0 is the head itself. */
typedef struct reidd_remote {
    const reidd_cluster_node *place;
    size_t row;       /* in reidd_nodes */
    reidd_join *join; /* NULL: not connected */
    Reid__V1__Node *weather;
    int64_t heard_ms;   /* monotonic; 0: never */
    int64_t since_ms;   /* wall clock */
    int64_t started_ms; /* its reidd, in its own time */
    bool ever;          /* was up since this daemon started */
    bool lost;          /* the parts know */
    bool refused;       /* a send had no room */
    reidd_asked asked;
    bool rival; /* it follows another head, which counts */
    reidd_clock clock;
    int64_t told_ahead_ms; /* of the clock, to whoever reads the log; 0: it is right */
} reidd_remote;

struct reidd_cluster {
    uv_loop_t *loop;
    reidd_cluster_file file;
    size_t self; /* row of the file */
    char *shim, *trainer;
    reid_rpc_tls *tls;
    int64_t started_ms;
    int slots;
    reidd_nodes *nodes;
    reidd_roster *roster;
    void (*look)(void *user);
    void (*on_change)(void *user);
    void *user;
    const reidd_part_events *events; /* never NULL */
    void *events_user;
    bool closing, leaving;
    int64_t beat_number;
    Reid__V1__Node *weather; /* of this node */
    bool weather_new;        /* not told to the head */
    uv_timer_t beat_timer;
    int64_t tick_ms; /* monotonic: the last beat */
    int64_t look_ms; /* … the last look */
    int handles;
    reidd_succession succession;

    /* head */
    reidd_remote *remotes; /* as nodes */
    size_t remote_count;
    reidd_join *joins;

    /* member */
    uv_timer_t join_timer;
    reid_rpc_channel *channel;
    reid_rpc_stream *stream;
    REID_VEC(struct reidd_peer *) peers; /* peers.c */
    bool welcome;                        /* the head has answered */
    bool refused;                        /* a send had no room */
    int64_t heard_ms, beat_heard;
    int64_t beat_sent_us, beat_heard_us; /* of the head's last beat: its clock, and this one's */
    uint64_t wait_ms;                    /* before the next try */
    char *note;                          /* why the head is not there */
    char *logged; /* the last reason that was logged: a hundred tries are one line */
};

int64_t reidd_cluster_now_ms(void); /* monotonic */
/* How late this tick is: a daemon that slept must not take its own silence for that of others. */
int64_t reidd_cluster_tick(reidd_cluster *cluster);
void reidd_cluster_ask_weather(reidd_cluster *cluster);
void reidd_cluster_take_weather(reidd_cluster *cluster, reidd_remote *remote, int slots,
                                const Reid__V1__Node *node);

/* head.c */
void reidd_head_init(reidd_cluster *cluster);
void reidd_head_fini(reidd_cluster *cluster);
void reidd_head_serve(reidd_cluster *cluster, reid_rpc_server *server);
void reidd_head_beat(reidd_cluster *cluster);
reidd_remote *reidd_head_find(const reidd_cluster *cluster, const char *name);

/* peers.c: other members that this one watches; on a head, nodes that have not joined */
typedef struct reidd_peer reidd_peer;
#define REIDD_PEERS_TOLD 64
void reidd_peers_set(reidd_cluster *cluster, char *const *names, size_t count);
/* On a head: whom do they follow? */
void reidd_peers_ask(reidd_cluster *cluster);
/* Asks each; `names` becomes those that do not answer any more, at most `room`. Borrowed. */
size_t reidd_peers_tick(reidd_cluster *cluster, int64_t late_ms, char **names, size_t room);

/* member.c */
void reidd_member_start(reidd_cluster *cluster);
void reidd_member_beat(reidd_cluster *cluster);
void reidd_member_leave(reidd_cluster *cluster);
void reidd_member_close(reidd_cluster *cluster); /* no callbacks of the channel afterwards */
void reidd_member_fini(reidd_cluster *cluster);

#endif
