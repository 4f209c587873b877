#include "daemon/sched/nodes.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/str.h"
#include "base/vec.h"

#define SHARE_LIMIT 65536 /* ranks on one node */

reidd_node *reidd_nodes_add(reidd_nodes *nodes, const char *name, int slots, const char *gpu_type)
{
    const reidd_node node = {
        .name = reid_xstrdup(name),
        .slots = slots,
        .up = true,
        .gpu_type = gpu_type ? reid_xstrdup(gpu_type) : NULL,
    };
    reid_vec_push(nodes, node);
    return &nodes->items[nodes->count - 1];
}

reidd_node *reidd_nodes_find(const reidd_nodes *nodes, const char *name)
{
    for (size_t i = 0; i < nodes->count; i++)
        if (strcmp(nodes->items[i].name, name) == 0)
            return &nodes->items[i];
    return NULL;
}

void reidd_nodes_fini(reidd_nodes *nodes)
{
    if (!nodes)
        return;
    for (size_t i = 0; i < nodes->count; i++) {
        free(nodes->items[i].name);
        free(nodes->items[i].note);
        free(nodes->items[i].gpu_type);
    }
    reid_vec_fini(nodes);
}

void reidd_node_set_text(char **text, const char *value)
{
    char *copy = value ? reid_xstrdup(value) : NULL;
    free(*text);
    *text = copy;
}

bool reidd_node_takes_jobs(const reidd_node *node)
{
    return node->up && !node->drained;
}

/* ---- placements ---- */

/* "node1:2" */
static reid_status parse_share(char *word, reidd_share *ret_share, reid_error *err)
{
    int64_t ranks = 0;
    char *colon = strrchr(word, ':');
    if (!colon || colon == word || reid_parse_int64(colon + 1, &ranks) != REID_OK || ranks < 1 ||
        ranks > SHARE_LIMIT)
        return reid_fail(err, REID_ERR_INVALID,
                         "'%s' does not say where ranks are, as 'node1:2' does", word);
    *colon = '\0';
    *ret_share = (reidd_share){.node = reid_xstrdup(word), .ranks = (int)ranks};
    return REID_OK;
}

reid_status reidd_placement_parse(const char *text, reidd_placement *ret_placement, reid_error *err)
{
    *ret_placement = (reidd_placement){0};
    if (!text || !*text)
        return REID_OK;
    REID_AUTOFREE char *copy = reid_xstrdup(text);
    for (char *word = copy, *next; word; word = next) {
        next = strchr(word, ',');
        if (next)
            *next++ = '\0';
        reidd_share share = {0};
        REID_TRY(parse_share(word, &share, err));
        reid_vec_push(ret_placement, share);
        for (size_t i = 0; i + 1 < ret_placement->count; i++)
            if (strcmp(ret_placement->items[i].node, share.node) == 0)
                return reid_fail(err, REID_ERR_INVALID, "the placement '%s' has node '%s' twice",
                                 text, share.node);
    }
    return REID_OK;
}

void reidd_placement_fini(reidd_placement *placement)
{
    if (!placement)
        return;
    for (size_t i = 0; i < placement->count; i++)
        free(placement->items[i].node);
    reid_vec_fini(placement);
}

int reidd_placement_ranks_on(const char *text, int ranks, const reidd_nodes *nodes, size_t row)
{
    if (!text || !*text)
        return row == 0 ? ranks : 0;
    reidd_placement placement;
    int found = 0;
    if (reidd_placement_parse(text, &placement, NULL) == REID_OK)
        for (size_t i = 0; i < placement.count; i++)
            if (strcmp(placement.items[i].node, nodes->items[row].name) == 0)
                found = placement.items[i].ranks;
    reidd_placement_fini(&placement);
    return found;
}

bool reidd_names_have(const char *names, const char *name)
{
    size_t length = strlen(name);
    for (const char *word = names; word && *word;) {
        const char *comma = strchr(word, ',');
        size_t size = comma ? (size_t)(comma - word) : strlen(word);
        if (size == length && strncmp(word, name, size) == 0)
            return true;
        word = comma ? comma + 1 : NULL;
    }
    return false;
}
