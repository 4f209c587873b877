/* Cluster files; and, when the input begins with "tcp:" or "unix:", addresses. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/utf8.h"
#include "daemon/cluster/file.h"
#include "rpc/address.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void run_address(const char *text)
{
    reid_rpc_address address = {0};
    reid_error err = {0};
    reid_status status = reid_rpc_address_init(&address, text, &err);
    REID_ASSERT(status == err.code);
    if (status == REID_OK) {
        REID_ASSERT((address.path != NULL) != (address.host != NULL));
        REID_ASSERT(address.path || *address.host);
        reid_rpc_address_fini(&address);
    }
}

static void check_node(const reidd_cluster_file *file, size_t i)
{
    const reidd_cluster_node *node = &file->nodes[i];
    reid_rpc_address address = {0};
    REID_ASSERT(*node->name && strpbrk(node->name, " \t\n/,:\"'\\;&|$") == NULL);
    REID_ASSERT(reidd_cluster_file_find(file, node->name) == i);
    REID_ASSERT(node->head == (i == file->head));
    REID_ASSERT(reid_rpc_address_init(&address, node->address, NULL) == REID_OK);
    REID_ASSERT(address.path || address.port > 0);
    REID_ASSERT(strcmp(node->host, address.host ? address.host : "") == 0);
    reid_rpc_address_fini(&address);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = reid_xstrndup((const char *)data, size);
    if (strncmp(text, "tcp:", 4) == 0 || strncmp(text, "unix:", 5) == 0) {
        run_address(text);
        free(text);
        return 0;
    }
    free(text);
    reidd_cluster_file file = {0};
    reid_error err = {0};
    reid_status status = reidd_cluster_file_parse("input", (const char *)data, size, &file, &err);
    REID_ASSERT(status == err.code);
    REID_ASSERT(status == REID_OK || status == REID_ERR_INVALID || status == REID_ERR_EXHAUSTED);
    REID_ASSERT(reid_utf8_is_valid(err.text));
    if (status == REID_OK) {
        REID_ASSERT(file.count > 0 && file.count <= REIDD_CLUSTER_NODES_LIMIT);
        REID_ASSERT(file.head < file.count);
        for (size_t i = 0; i < file.count; i++)
            check_node(&file, i);
        reidd_cluster_file_fini(&file);
    }
    return 0;
}
