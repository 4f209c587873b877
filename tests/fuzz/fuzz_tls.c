/* TLS as anybody on the network may speak it: bytes to either side, a good handshake with changed
 * bytes in it, and certificates to read. The first byte says which.
 *
 * What must hold: who has not shown a certificate is never let in; a failure has a phrase; what
 * waits to be sent stays small. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "harness/harness.h"
#include "rpc/ca.h"
#include "rpc/secure.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_OUT_BYTES = 1 << 20 };

static struct {
    char *folder;
    reid_rpc_tls *node, *user;
} world;

static reid_rpc_tls *make_identity(const char *name, const char *role)
{
    static const char *const hosts[] = {"127.0.0.1"};
    bool node = strcmp(role, "node") == 0;
    const reid_rpc_ca_request request = {
        .name = name, .role = role, .hosts = hosts, .host_count = node, .days = 30};
    reid_rpc_tls *tls = NULL;
    char *out = reid_path_join(world.folder, name);
    REID_ASSERT(reid_rpc_ca_issue(world.folder, &request, out, NULL) == REID_OK &&
                reid_rpc_tls_new(out, &tls, NULL) == REID_OK);
    free(out);
    return tls;
}

static void begin(void)
{
    if (world.folder)
        return;
    world.folder = reid_test_dir_new();
    REID_ASSERT(reid_rpc_ca_init(world.folder, "fuzz", 60, NULL) == REID_OK);
    world.node = make_identity("node1", "node");
    world.user = make_identity("ada", "viewer");
}

static void check(const reid_rpc_secure *secure, bool failed)
{
    REID_ASSERT(!failed || secure->why[0] != '\0');
    REID_ASSERT(secure->out_bytes - secure->out_sent < MAX_OUT_BYTES);
    if (!secure->established)
        return;
    REID_ASSERT(secure->peer.name[0] != '\0' && secure->peer.role[0] != '\0');
    REID_ASSERT(!secure->host || strcmp(secure->peer.role, "node") == 0);
}

/* As the wire does it: false when it would close. */
static bool take(reid_rpc_secure *secure, const uint8_t *bytes, size_t size)
{
    uint8_t plain[16384];
    reid_rpc_secure_give(secure, bytes, size);
    int shaken = reid_rpc_secure_handshake(secure);
    ssize_t n = 0;
    while (shaken > 0 && (n = reid_rpc_secure_read(secure, plain, sizeof plain)) > 0)
        ;
    bool failed = shaken < 0 || n < 0;
    check(secure, failed);
    REID_ASSERT(failed || secure->in_bytes == 0);
    return !failed;
}

/* In pieces, to a side that nobody good speaks to. */
static void feed_raw(bool server, size_t piece, const uint8_t *data, size_t size)
{
    reid_rpc_secure *secure =
        reid_rpc_secure_new(server ? world.node : world.user, server ? NULL : "127.0.0.1");
    REID_ASSERT(secure);
    if (!server)
        REID_ASSERT(reid_rpc_secure_handshake(secure) == 0);
    for (size_t at = 0; at < size;) {
        size_t n = piece == 0 || piece > size - at ? size - at : piece;
        if (!take(secure, data + at, n))
            break;
        at += n;
    }
    REID_ASSERT(!secure->established);
    reid_rpc_secure_free(secure);
}

/* Three bytes: how many bytes to leave, and what to add to the one after them. */
typedef struct edits {
    const uint8_t *data;
    size_t size;
    size_t leave;
    bool armed;
} edits;

static void edit(edits *e, uint8_t *bytes, size_t size)
{
    for (size_t at = 0; at < size;) {
        if (!e->armed && e->size < 3)
            return;
        if (!e->armed) {
            e->leave = (size_t)(e->data[0] << 8 | e->data[1]);
            e->armed = true;
        }
        if (e->leave >= size - at) {
            e->leave -= size - at;
            return;
        }
        at += e->leave;
        bytes[at++] += e->data[2];
        e->data += 3;
        e->size -= 3;
        e->armed = false;
    }
}

static bool pass(reid_rpc_secure *from, reid_rpc_secure *to, edits *e)
{
    size_t size = from->out_bytes - from->out_sent;
    if (size == 0)
        return true;
    uint8_t *bytes = reid_xmalloc(size);
    memcpy(bytes, from->out + from->out_sent, size);
    edit(e, bytes, size);
    reid_rpc_secure_sent(from, size);
    bool good = take(to, bytes, size);
    free(bytes);
    return good;
}

static void change_bytes(const uint8_t *data, size_t size)
{
    static const uint8_t text[3000] = "PRI * HTTP/2.0";
    edits e = {.data = data, .size = size};
    reid_rpc_secure *server = reid_rpc_secure_new(world.node, NULL);
    reid_rpc_secure *client = reid_rpc_secure_new(world.user, "127.0.0.1");
    REID_ASSERT(server && client && reid_rpc_secure_handshake(client) == 0);
    bool good = true;
    for (int round = 0; round < 6 && good; round++) {
        good = pass(client, server, &e) && pass(server, client, &e);
        if (good && client->established)
            good = reid_rpc_secure_write(client, text, sizeof text);
        if (good && server->established)
            good = reid_rpc_secure_write(server, text, sizeof text);
    }
    REID_ASSERT(size >= 3 || (good && server->established)); /* nothing was changed */
    reid_rpc_secure_end(client);
    reid_rpc_secure_free(client);
    reid_rpc_secure_free(server);
}

static void read_certificate(const uint8_t *data, size_t size)
{
    reid_rpc_certificate certificate;
    char *path = reid_test_write(world.folder, "read.pem", data, size);
    if (reid_rpc_certificate_read(path, &certificate, NULL) == REID_OK) {
        REID_ASSERT(certificate.name && certificate.role && certificate.hosts);
        reid_rpc_certificate_fini(&certificate);
    }
    free(path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    begin();
    if (size < 2)
        return 0;
    switch (data[0] % 4) {
    case 0:
    case 1:
        feed_raw(data[0] % 4 == 0, data[1], data + 2, size - 2);
        break;
    case 2:
        change_bytes(data + 1, size - 1);
        break;
    default:
        read_certificate(data + 1, size - 1);
        break;
    }
    return 0;
}
