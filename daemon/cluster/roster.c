#include "daemon/cluster/roster.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "base/log.h"
#include "base/str.h"

static size_t row_of(const reidd_roster *roster, const char *name)
{
    const reidd_node *node = reidd_nodes_find(roster->nodes, name);
    return node ? (size_t)(node - roster->nodes->items) : roster->count;
}

static void write_note(reidd_roster *roster, size_t row)
{
    const reidd_roster_entry *entry = &roster->entries[row];
    reidd_node *node = &roster->nodes->items[row];
    reid_str text = REID_STR_INIT;
    if (entry->down)
        reid_str_add(&text, entry->down);
    else if (node->drained)
        reid_str_addf(&text, "drained%s%s%s%s", *entry->who ? " by " : "", entry->who,
                      *entry->reason ? ": " : "", entry->reason);
    reidd_node_set_text(&node->note, text.length > 0 ? reid_str_text(&text) : NULL);
    reid_str_fini(&text);
}

static void set_drain(reidd_roster *roster, size_t row, bool drained, const char *reason,
                      const char *who)
{
    reidd_roster_entry *entry = &roster->entries[row];
    reidd_node_set_text(&entry->reason, drained ? reason : "");
    reidd_node_set_text(&entry->who, drained ? who : "");
    roster->nodes->items[row].drained = drained;
    write_note(roster, row);
}

static void take_stored(const reidd_store_node *stored, void *user)
{
    reidd_roster *roster = user;
    size_t row = row_of(roster, stored->name);
    if (row == roster->count)
        return; /* was taken out of the cluster's file */
    reidd_node *node = &roster->nodes->items[row];
    if (node->unknown && stored->slots > 0) {
        node->unknown = false;
        node->slots = stored->slots;
        reidd_node_set_text(&node->gpu_type, *stored->gpu_type ? stored->gpu_type : NULL);
    }
    set_drain(roster, row, stored->drained, stored->reason, stored->who);
}

reid_status reidd_roster_init(reidd_roster *roster, reidd_store *store, reidd_nodes *nodes,
                              reid_error *err)
{
    *roster = (reidd_roster){.store = store, .nodes = nodes, .count = nodes->count};
    roster->entries = reid_xcalloc(nodes->count + 1, sizeof *roster->entries);
    for (size_t i = 0; i < nodes->count; i++) {
        roster->entries[i].reason = reid_xstrdup("");
        roster->entries[i].who = reid_xstrdup("");
    }
    return reidd_store_node_each(store, take_stored, roster, err);
}

void reidd_roster_fini(reidd_roster *roster)
{
    for (size_t i = 0; i < roster->count; i++) {
        free(roster->entries[i].reason);
        free(roster->entries[i].who);
        free(roster->entries[i].down);
    }
    free(roster->entries);
    *roster = (reidd_roster){0};
}

const reidd_roster_entry *reidd_roster_entry_of(const reidd_roster *roster, const char *name)
{
    size_t row = row_of(roster, name);
    return row < roster->count ? &roster->entries[row] : NULL;
}

static reid_status save(const reidd_roster *roster, size_t row, bool drained, const char *reason,
                        const char *who, reid_error *err)
{
    const reidd_node *node = &roster->nodes->items[row];
    const reidd_store_node stored = {
        .name = node->name,
        .slots = node->slots,
        .gpu_type = node->gpu_type ? node->gpu_type : "",
        .drained = drained,
        .reason = reason,
        .who = who,
        .wall_ms = reid_clock_wall_ms(),
    };
    return reidd_store_node_save(roster->store, &stored, err);
}

static reid_status fail_unknown(const reidd_roster *roster, const char *name, reid_error *err)
{
    reid_str names = REID_STR_INIT;
    for (size_t i = 0; i < roster->count && i < 16; i++)
        reid_str_addf(&names, "%s%s", i ? ", " : "", roster->nodes->items[i].name);
    reid_status status = reid_fail(err, REID_ERR_NOT_FOUND, "there is no node '%s'; there is %s%s",
                                   name, reid_str_text(&names), roster->count > 16 ? ", …" : "");
    reid_str_fini(&names);
    return status;
}

reid_status reidd_roster_drain(reidd_roster *roster, const char *name, bool drained,
                               const char *reason, const char *who, reid_error *err)
{
    size_t row = row_of(roster, name);
    if (row == roster->count)
        return fail_unknown(roster, name, err);
    REID_TRY(save(roster, row, drained, drained ? reason : "", drained ? who : "", err));
    set_drain(roster, row, drained, reason, who);
    reid_log_info("node %s name=%s by=%s reason='%s'", drained ? "drained" : "resumed", name, who,
                  reason);
    return REID_OK;
}

void reidd_roster_mark(reidd_roster *roster, size_t row, const char *down)
{
    reidd_node_set_text(&roster->entries[row].down, down);
    roster->nodes->items[row].up = down == NULL;
    write_note(roster, row);
}

bool reidd_roster_learn(reidd_roster *roster, size_t row, int slots, const char *gpu_type)
{
    reidd_node *node = &roster->nodes->items[row];
    const char *known = node->gpu_type ? node->gpu_type : "";
    reid_error err = {0};
    if (!gpu_type)
        gpu_type = "";
    if (!node->unknown && node->slots == slots && strcmp(known, gpu_type) == 0)
        return false;
    node->unknown = false;
    node->slots = slots;
    reidd_node_set_text(&node->gpu_type, *gpu_type ? gpu_type : NULL);
    const reidd_roster_entry *entry = &roster->entries[row];
    if (save(roster, row, node->drained, entry->reason, entry->who, &err) != REID_OK)
        reid_log_warn("node cannot be stored name=%s: %s", node->name, err.text);
    return true;
}
