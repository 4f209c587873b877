/* The cluster file: which nodes there are.
 *
 *     network: 10.77.0.0/24          # optional: of training's own traffic (Open MPI, NCCL)
 *     nodes:
 *       - {name: node1, address: tcp://10.77.0.1:7411, head: true}
 *       - {name: node2, address: tcp://10.77.0.2:7411}
 *
 * The same file lies on every node. Exactly one node is the head; without any mark it is the first.
 * A node is named as its host is (`hostname`): mpirun knows it by that name. Addresses are
 * tcp://HOST:PORT or unix:/path. An unknown key is an error.
 *
 * A member says who its clients are, and the head has to believe it: as operators at most, and of a
 * node with `clients: viewer` as viewers.
 */
#ifndef REIDD_CLUSTER_FILE_H
#define REIDD_CLUSTER_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

#define REIDD_CLUSTER_NODES_LIMIT 1024

typedef struct reidd_cluster_node {
    char *name;    /* letters, digits, '-', '_', '.' */
    char *address; /* tcp://HOST:PORT, unix:/path */
    char *host;    /* "10.77.0.2" of tcp://10.77.0.2:7411; "" of unix: */
    bool head;
    bool only_viewers; /* clients: viewer */
} reidd_cluster_node;

typedef struct reidd_cluster_file {
    reidd_cluster_node *nodes; /* in the order of the file */
    size_t count;
    size_t head;   /* index */
    char *network; /* "10.77.0.0/24"; NULL: not told */
} reidd_cluster_file;

/* Free with reidd_cluster_file_fini. INVALID: a sentence with the line. */
reid_status reidd_cluster_file_read(const char *path, reidd_cluster_file *ret_file,
                                    reid_error *err);
/* The same from text; `name` is for sentences. */
reid_status reidd_cluster_file_parse(const char *name, const char *text, size_t length,
                                     reidd_cluster_file *ret_file, reid_error *err);
void reidd_cluster_file_fini(reidd_cluster_file *file);
/* Index of the node of that name; `count` when there is none. */
size_t reidd_cluster_file_find(const reidd_cluster_file *file, const char *name);

#endif
