#include "daemon/cluster/file.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/file.h"
#include "base/str.h"
#include "base/vec.h"
#include "rpc/address.h"

#define FILE_BYTES ((size_t)1 << 20)
#define NAME_BYTES 64 /* a host name's label, and a certificate's common name */

typedef struct reader {
    yaml_document_t document;
    const char *name;
    REID_VEC(reidd_cluster_node) nodes;
    char *network;
    reid_error *err;
} reader;

static reid_status fail(const reader *r, const yaml_node_t *node, const char *what)
{
    return reid_fail(r->err, REID_ERR_INVALID, "%s:%zu: %s", r->name, node->start_mark.line + 1,
                     what);
}

/* ---- values ---- */

static reid_status read_text(const reader *r, const yaml_node_t *node, const char *key,
                             const char **ret_text)
{
    const char *text = (const char *)node->data.scalar.value;
    if (node->type != YAML_SCALAR_NODE || !*text || strlen(text) != node->data.scalar.length)
        return reid_fail(r->err, REID_ERR_INVALID, "%s:%zu: '%s' needs a text", r->name,
                         node->start_mark.line + 1, key);
    *ret_text = text;
    return REID_OK;
}

static reid_status read_truth(const reader *r, const yaml_node_t *node, const char *key,
                              bool *ret_truth)
{
    const char *text = NULL;
    REID_TRY(read_text(r, node, key, &text));
    bool yes = strcmp(text, "true") == 0 || strcmp(text, "yes") == 0;
    if (!yes && strcmp(text, "false") != 0 && strcmp(text, "no") != 0)
        return reid_fail(r->err, REID_ERR_INVALID, "%s:%zu: '%s' is true or false, not '%.40s'",
                         r->name, node->start_mark.line + 1, key, text);
    *ret_truth = yes;
    return REID_OK;
}

static bool is_name(const char *text)
{
    size_t length = strlen(text);
    if (length == 0 || length > NAME_BYTES || *text == '-' || *text == '.')
        return false;
    for (const char *c = text; *c; c++)
        if (!isalnum((unsigned char)*c) && !strchr("-_.", *c))
            return false;
    return true;
}

/* What the daemons will listen on and connect to. */
static reid_status read_address(const reader *r, const yaml_node_t *node, const char *text,
                                reidd_cluster_node *row)
{
    reid_rpc_address address = {0};
    bool good = reid_rpc_address_init(&address, text, NULL) == REID_OK;
    if (good && address.host ? address.port > 0 : good && reid_str_starts(text, "unix:/"))
        row->host = reid_xstrdup(address.host ? address.host : "");
    reid_rpc_address_fini(&address);
    if (!row->host)
        return reid_fail(r->err, REID_ERR_INVALID,
                         "%s:%zu: an address is tcp://HOST:PORT or unix:/path, not '%.100s'",
                         r->name, node->start_mark.line + 1, text);
    row->address = reid_xstrdup(text);
    return REID_OK;
}

/* ---- nodes ---- */

static reid_status read_clients(const reader *r, const yaml_node_t *node, bool *ret_only_viewers)
{
    const char *text = NULL;
    REID_TRY(read_text(r, node, "clients", &text));
    if (strcmp(text, "viewer") != 0 && strcmp(text, "operator") != 0)
        return reid_fail(r->err, REID_ERR_INVALID,
                         "%s:%zu: 'clients' are viewer or operator, not '%.40s'", r->name,
                         node->start_mark.line + 1, text);
    *ret_only_viewers = *text == 'v';
    return REID_OK;
}

static reid_status read_field(const reader *r, const char *key, const yaml_node_t *key_node,
                              const yaml_node_t *value, reidd_cluster_node *row)
{
    const char *text = NULL;
    if (strcmp(key, "head") == 0)
        return read_truth(r, value, key, &row->head);
    if (strcmp(key, "clients") == 0)
        return read_clients(r, value, &row->only_viewers);
    if (strcmp(key, "name") != 0 && strcmp(key, "address") != 0)
        return reid_fail(r->err, REID_ERR_INVALID,
                         "%s:%zu: a node has 'name', 'address', 'head' and 'clients', not '%.40s'",
                         r->name, key_node->start_mark.line + 1, key);
    REID_TRY(read_text(r, value, key, &text));
    if (strcmp(key, "name") == 0 ? row->name != NULL : row->address != NULL)
        return reid_fail(r->err, REID_ERR_INVALID, "%s:%zu: '%s' is given twice", r->name,
                         key_node->start_mark.line + 1, key);
    if (*key == 'a')
        return read_address(r, value, text, row);
    if (!is_name(text))
        return reid_fail(r->err, REID_ERR_INVALID,
                         "%s:%zu: a node's name is at most %d letters, digits, '-', '_' and '.', "
                         "not '%.100s'",
                         r->name, value->start_mark.line + 1, NAME_BYTES, text);
    row->name = reid_xstrdup(text);
    return REID_OK;
}

static void node_fini(reidd_cluster_node *row)
{
    free(row->name);
    free(row->address);
    free(row->host);
}

static reid_status check_unique(const reader *r, const yaml_node_t *node,
                                const reidd_cluster_node *row)
{
    for (size_t i = 0; i < r->nodes.count; i++) {
        const reidd_cluster_node *other = &r->nodes.items[i];
        const char *what = strcmp(other->name, row->name) == 0         ? row->name
                           : strcmp(other->address, row->address) == 0 ? row->address
                                                                       : NULL;
        if (what)
            return reid_fail(r->err, REID_ERR_INVALID, "%s:%zu: there are two nodes '%s'", r->name,
                             node->start_mark.line + 1, what);
        if (other->head && row->head)
            return reid_fail(r->err, REID_ERR_INVALID,
                             "%s:%zu: one node is the head, not both '%s' and '%s'", r->name,
                             node->start_mark.line + 1, other->name, row->name);
    }
    return REID_OK;
}

static reid_status read_node(reader *r, yaml_node_t *node)
{
    if (node->type != YAML_MAPPING_NODE)
        return fail(r, node, "a node is {name: …, address: …}");
    reidd_cluster_node row = {0};
    reid_status status = REID_OK;
    for (yaml_node_pair_t *pair = node->data.mapping.pairs.start;
         pair < node->data.mapping.pairs.top && status == REID_OK; pair++) {
        const yaml_node_t *key = yaml_document_get_node(&r->document, pair->key);
        const yaml_node_t *value = yaml_document_get_node(&r->document, pair->value);
        const char *text = NULL;
        status = read_text(r, key, "a key", &text);
        if (status == REID_OK)
            status = read_field(r, text, key, value, &row);
    }
    if (status == REID_OK && (!row.name || !row.address))
        status = fail(r, node, row.name ? "this node has no 'address'" : "this node has no 'name'");
    if (status == REID_OK && r->nodes.count == REIDD_CLUSTER_NODES_LIMIT)
        status = fail(r, node, "too many nodes");
    if (status == REID_OK)
        status = check_unique(r, node, &row);
    if (status == REID_OK)
        reid_vec_push(&r->nodes, row);
    else
        node_fini(&row);
    return status;
}

static reid_status read_nodes(reader *r, const yaml_node_t *list)
{
    if (list->type != YAML_SEQUENCE_NODE)
        return fail(r, list, "'nodes' is a list of {name: …, address: …}");
    if (r->nodes.count > 0)
        return fail(r, list, "'nodes' is given twice");
    for (yaml_node_item_t *item = list->data.sequence.items.start;
         item < list->data.sequence.items.top; item++)
        REID_TRY(read_node(r, yaml_document_get_node(&r->document, *item)));
    return REID_OK;
}

/* "10.77.0.0/24", or several with commas, as Open MPI's if_include takes it: a word of these
 * characters only, since it stands in the environment of training. */
static bool is_network(const char *text)
{
    return strlen(text) < 256 && text[strspn(text, "0123456789abcdefABCDEF.:/,")] == '\0' &&
           strchr(text, '/');
}

static reid_status read_top(reader *r)
{
    const yaml_node_t *root = yaml_document_get_root_node(&r->document);
    if (!root || root->type != YAML_MAPPING_NODE)
        return reid_fail(r->err, REID_ERR_INVALID, "%s: a cluster file has a list 'nodes'",
                         r->name);
    for (yaml_node_pair_t *pair = root->data.mapping.pairs.start;
         pair < root->data.mapping.pairs.top; pair++) {
        const yaml_node_t *key = yaml_document_get_node(&r->document, pair->key);
        const yaml_node_t *value = yaml_document_get_node(&r->document, pair->value);
        const char *text = NULL, *network = NULL;
        REID_TRY(read_text(r, key, "a key", &text));
        if (strcmp(text, "nodes") == 0) {
            REID_TRY(read_nodes(r, value));
        } else if (strcmp(text, "network") == 0 && !r->network) {
            REID_TRY(read_text(r, value, text, &network));
            if (!is_network(network))
                return fail(r, value, "'network' is such as 10.77.0.0/24");
            r->network = reid_xstrdup(network);
        } else {
            return reid_fail(r->err, REID_ERR_INVALID,
                             "%s:%zu: a cluster file has 'nodes' and 'network' once, not '%.40s'",
                             r->name, key->start_mark.line + 1, text);
        }
    }
    if (r->nodes.count == 0)
        return reid_fail(r->err, REID_ERR_INVALID, "%s: a cluster file has a list 'nodes'",
                         r->name);
    return REID_OK;
}

/* ---- the whole ---- */

static void take(reader *r, reidd_cluster_file *ret_file)
{
    *ret_file = (reidd_cluster_file){
        .nodes = r->nodes.items, .count = r->nodes.count, .network = r->network};
    for (size_t i = 0; i < ret_file->count; i++)
        if (ret_file->nodes[i].head)
            ret_file->head = i;
    ret_file->nodes[ret_file->head].head = true;
}

reid_status reidd_cluster_file_parse(const char *name, const char *text, size_t length,
                                     reidd_cluster_file *ret_file, reid_error *err)
{
    yaml_parser_t parser;
    reader r = {.name = name, .err = err};
    if (!yaml_parser_initialize(&parser))
        return reid_fail(err, REID_ERR_EXHAUSTED, "%s: out of memory", name);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, length);
    reid_status status = REID_OK;
    if (yaml_parser_load(&parser, &r.document)) {
        status = read_top(&r);
        yaml_document_delete(&r.document);
    } else {
        status = reid_fail(err, REID_ERR_INVALID, "%s:%zu: not valid YAML: %s", name,
                           parser.problem_mark.line + 1,
                           parser.problem ? parser.problem : "unknown problem");
    }
    yaml_parser_delete(&parser);
    if (status == REID_OK) {
        take(&r, ret_file);
        return REID_OK;
    }
    for (size_t i = 0; i < r.nodes.count; i++)
        node_fini(&r.nodes.items[i]);
    reid_vec_fini(&r.nodes);
    free(r.network);
    return status;
}

reid_status reidd_cluster_file_read(const char *path, reidd_cluster_file *ret_file, reid_error *err)
{
    REID_AUTOFREE char *text = NULL;
    size_t length = 0;
    REID_TRY(reid_file_read(path, FILE_BYTES, &text, &length, err));
    return reidd_cluster_file_parse(path, text, length, ret_file, err);
}

void reidd_cluster_file_fini(reidd_cluster_file *file)
{
    if (!file)
        return;
    for (size_t i = 0; i < file->count; i++)
        node_fini(&file->nodes[i]);
    free(file->nodes);
    free(file->network);
    *file = (reidd_cluster_file){0};
}

size_t reidd_cluster_file_find(const reidd_cluster_file *file, const char *name)
{
    size_t i = 0;
    while (i < file->count && strcmp(file->nodes[i].name, name) != 0)
        i++;
    return i;
}
