/* Nodes and their GPUs for people and programs: pure functions from an answer of
 * SystemService.Nodes to text. */
#ifndef REIDCTL_OUT_NODES_H
#define REIDCTL_OUT_NODES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"
#include "reid/v1/system.pb-c.h"

typedef struct reidctl_nodes_sight {
    size_t columns; /* cells; 0: no limit */
    bool color, headers;
    int64_t now_ms; /* wall clock */
} reidctl_nodes_sight;

/* `nodes`: one row per node. */
void reidctl_nodes_table(const Reid__V1__NodesResponse *list, const reidctl_nodes_sight *sight,
                         reid_str *out);
/* `top`: for each node a line about it, then a row per GPU with the rank that has it, then a row
 * per job that has none. Lines ended by '\n', none wider than sight->columns. */
void reidctl_nodes_top(const Reid__V1__NodesResponse *list, const reidctl_nodes_sight *sight,
                       reid_str *out);
/* An array of nodes; names of members are those of the protocol, what is not told is null. */
void reidctl_nodes_json(const Reid__V1__NodesResponse *list, reid_str *out);

#endif
