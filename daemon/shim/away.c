#include "daemon/shim/away.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/str.h"
#include "daemon/exec/files.h"

reid_status reidd_away_init(reidd_away *away, const reidd_shim_options *options, reid_error *err)
{
    *away = (reidd_away){.folder = options->attempt_dir, .self = options->node};
    if (!options->hosts)
        return REID_OK;
    REID_TRY(reidd_placement_parse(options->hosts, &away->placement, err));
    away->nodes = reid_xcalloc((size_t)options->ranks, sizeof(char *));
    int rank = 0;
    for (size_t i = 0; i < away->placement.count; i++)
        for (int k = 0; k < away->placement.items[i].ranks; k++, rank++)
            if (rank < options->ranks)
                away->nodes[rank] = away->placement.items[i].node;
    if (rank != options->ranks)
        return reid_fail(err, REID_ERR_INVALID, "'%s' has %d ranks, not %d", options->hosts, rank,
                         options->ranks);
    return REID_OK;
}

void reidd_away_fini(reidd_away *away)
{
    reidd_placement_fini(&away->placement);
    free((void *)away->nodes);
    away->nodes = NULL;
}

bool reidd_away_is(const reidd_away *away, int rank)
{
    return away->nodes && strcmp(away->nodes[rank], away->self) != 0;
}

bool reidd_away_has_started(const reidd_away *away, int rank)
{
    REID_AUTOFREE char *path = reidd_rank_path(away->folder, "ranks", rank, "away");
    return reid_path_exists(path);
}

static bool has_file(const reidd_away *away, const char *node, const char *suffix)
{
    REID_AUTOFREE char *path = reidd_node_path(away->folder, node, suffix);
    return reid_path_exists(path);
}

bool reidd_away_is_over(const reidd_away *away, int rank)
{
    return has_file(away, away->nodes[rank], "end");
}

static int64_t stop_ms_of(const reidd_away *away, const char *node)
{
    REID_AUTOFREE char *path = reidd_node_path(away->folder, node, "stop");
    REID_AUTOFREE char *text = NULL;
    size_t size = 0;
    int64_t stop_ms = 0;
    if (reid_file_read(path, 64, &text, &size, NULL) != REID_OK ||
        reid_parse_int64(text, &stop_ms) != REID_OK)
        return 0;
    return stop_ms;
}

int64_t reidd_away_stop_ms(const reidd_away *away, int rank)
{
    return stop_ms_of(away, away->nodes[rank]);
}

void reidd_away_clock(const reidd_away *away, int rank, int64_t *ret_ahead_ms,
                      int64_t *ret_doubt_ms)
{
    *ret_ahead_ms = *ret_doubt_ms = 0;
    if (!reidd_away_is(away, rank))
        return;
    REID_AUTOFREE char *path = reidd_node_path(away->folder, away->nodes[rank], "clock");
    REID_AUTOFREE char *text = NULL;
    size_t size = 0;
    long long ahead_ms, doubt_ms;
    bool known = reid_file_read(path, 64, &text, &size, NULL) == REID_OK &&
                 sscanf(text, "%lld %lld", &ahead_ms, &doubt_ms) == 2 && doubt_ms >= 0;
    *ret_ahead_ms = known ? ahead_ms : 0;
    *ret_doubt_ms = known ? doubt_ms : REIDD_AWAY_UNKNOWN_MS;
}

const char *reidd_away_left(const reidd_away *away, int64_t before_ms, int64_t *ret_ms)
{
    const char *first = NULL;
    int64_t first_ms = before_ms;
    for (size_t i = 0; i < away->placement.count; i++) {
        int64_t ms = stop_ms_of(away, away->placement.items[i].node);
        if (ms > 0 && ms < first_ms) {
            first_ms = ms;
            first = away->placement.items[i].node;
        }
    }
    *ret_ms = first_ms;
    return first;
}

bool reidd_away_all_over(const reidd_away *away)
{
    for (size_t i = 0; i < away->placement.count; i++) {
        const char *node = away->placement.items[i].node;
        if (has_file(away, node, "begun") && !has_file(away, node, "end"))
            return false;
    }
    return true;
}
