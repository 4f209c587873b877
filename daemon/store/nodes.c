/* Nodes, the head, and the configurations of jobs. */
#include <stdlib.h>

#include "base/alloc.h"
#include "daemon/store/private.h"

reid_status reidd_store_config_add(reidd_store *store, const char *id, const char *yaml,
                                   reid_error *err)
{
    sqlite3_stmt *s = NULL;
    REID_TRY(reidd_store_prepare(store, REIDD_SQL_CONFIG_ADD, &s, err));
    sqlite3_bind_text(s, 1, id, -1, SQLITE_STATIC);
    sqlite3_bind_text(s, 2, yaml, -1, SQLITE_STATIC);
    return reidd_store_run(store, s, "add a configuration to", err);
}

reid_status reidd_store_config_load(reidd_store *store, const char *id, char **ret_yaml,
                                    reid_error *err)
{
    sqlite3_stmt *s = NULL;
    REID_TRY(reidd_store_prepare(store, REIDD_SQL_CONFIG_LOAD, &s, err));
    sqlite3_bind_text(s, 1, id, -1, SQLITE_STATIC);
    int rc = sqlite3_step(s);
    const char *text = rc == SQLITE_ROW ? (const char *)sqlite3_column_text(s, 0) : NULL;
    char *yaml = text ? reid_xstrdup(text) : NULL;
    reid_status status = reidd_store_done(store, s, rc, "read", err);
    if (status == REID_OK && !yaml)
        status = reid_fail(err, REID_ERR_NOT_FOUND, "there is no configuration of job %s", id);
    if (status != REID_OK) {
        free(yaml);
        return status;
    }
    *ret_yaml = yaml;
    return REID_OK;
}

reid_status reidd_store_node_save(reidd_store *store, const reidd_store_node *node, reid_error *err)
{
    sqlite3_stmt *s = NULL;
    REID_TRY(reidd_store_prepare(store, REIDD_SQL_NODE_SAVE, &s, err));
    sqlite3_bind_text(s, 1, node->name, -1, SQLITE_STATIC);
    sqlite3_bind_int(s, 2, node->slots);
    sqlite3_bind_text(s, 3, node->gpu_type, -1, SQLITE_STATIC);
    sqlite3_bind_int(s, 4, node->drained);
    sqlite3_bind_text(s, 5, node->reason, -1, SQLITE_STATIC);
    sqlite3_bind_text(s, 6, node->who, -1, SQLITE_STATIC);
    sqlite3_bind_int64(s, 7, node->wall_ms);
    return reidd_store_run(store, s, "add a node to", err);
}

reid_status reidd_store_node_each(reidd_store *store,
                                  void (*each)(const reidd_store_node *node, void *user),
                                  void *user, reid_error *err)
{
    sqlite3_stmt *s = NULL;
    REID_TRY(reidd_store_prepare(store, REIDD_SQL_NODE_LIST, &s, err));
    int rc;
    while ((rc = sqlite3_step(s)) == SQLITE_ROW) {
        const reidd_store_node node = {
            .name = (const char *)sqlite3_column_text(s, 0),
            .slots = sqlite3_column_int(s, 1),
            .gpu_type = (const char *)sqlite3_column_text(s, 2),
            .drained = sqlite3_column_int(s, 3) != 0,
            .reason = (const char *)sqlite3_column_text(s, 4),
            .who = (const char *)sqlite3_column_text(s, 5),
            .wall_ms = sqlite3_column_int64(s, 6),
        };
        each(&node, user);
    }
    return reidd_store_done(store, s, rc, "read", err);
}

reid_status reidd_store_head_save(reidd_store *store, const char *name, int64_t generation,
                                  reid_error *err)
{
    sqlite3_stmt *s = NULL;
    REID_TRY(reidd_store_prepare(store, REIDD_SQL_HEAD_SAVE, &s, err));
    sqlite3_bind_text(s, 1, name, -1, SQLITE_STATIC);
    sqlite3_bind_int64(s, 2, generation);
    return reidd_store_run(store, s, "note the head in", err);
}

reid_status reidd_store_head_load(reidd_store *store, char **ret_name, int64_t *ret_generation,
                                  reid_error *err)
{
    sqlite3_stmt *s = NULL;
    REID_TRY(reidd_store_prepare(store, REIDD_SQL_HEAD_LOAD, &s, err));
    int rc = sqlite3_step(s);
    char *name = rc == SQLITE_ROW ? reid_xstrdup((const char *)sqlite3_column_text(s, 0)) : NULL;
    int64_t generation = rc == SQLITE_ROW ? sqlite3_column_int64(s, 1) : 0;
    reid_status status = reidd_store_done(store, s, rc, "read", err);
    if (status != REID_OK) {
        free(name);
        return status;
    }
    *ret_name = name;
    *ret_generation = generation;
    return REID_OK;
}
