/* Which of two heads counts: a head that was replaced (its store goes on at another node), and that
 * comes back with its old cluster file, must not start what the new one starts.
 *
 * Every store has the name of the head it belongs to, and a generation. A daemon that becomes head
 * with a store that says another name raises the generation. Members keep, in stores of their own,
 * whom they have followed last. Everybody tells this when asked (NodePong) and when joining
 * (NodeHello, NodeWelcome). A head that hears of another one of its own or a later generation
 * starts no jobs, takes none in, and says so. One that has just started waits with starting until
 * the others have answered, at most REIDD_ASKING_MS; later it asks those that have not joined, now
 * and then. Where nobody answers it goes on: then nobody can tell it.
 */
#ifndef REIDD_CLUSTER_SUCCESSION_H
#define REIDD_CLUSTER_SUCCESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "daemon/store/store.h"

#define REIDD_ASKING_MS 3000

struct reidd_cluster;

typedef struct reidd_succession {
    reidd_store *store;      /* NULL: nothing is kept, in tests */
    char *head;              /* head: this node. Member: whom it has followed last; NULL: nobody */
    int64_t generation;      /* of that head; 0: not known */
    bool take_over;          /* it counts, whatever others have followed (--take-over) */
    bool settled;            /* it has waited long enough for answers */
    char *rival;             /* a sentence: why this head starts nothing; NULL: it is the head */
    int64_t asking_until_ms; /* monotonic */
} reidd_succession;

/* Reads the store. A head's generation is raised and stored where the store was another head's. */
reid_status reidd_succession_open(struct reidd_cluster *cluster, reidd_store *store, bool take_over,
                                  reid_error *err);
void reidd_succession_fini(reidd_succession *succession);

/* On a head: `from` says whom it follows ("", 0: nobody). Whether this one is the head all the
 * same. */
bool reidd_succession_hear(struct reidd_cluster *cluster, const char *from, const char *head,
                           int64_t generation);
/* On a member: it has been welcomed. */
void reidd_succession_follow(struct reidd_cluster *cluster, int64_t generation);
/* On a head, every beat. */
void reidd_succession_tick(struct reidd_cluster *cluster);

#endif
