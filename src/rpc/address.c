#include "rpc/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/str.h"

enum { MAX_HOST_BYTES = 253 }; /* RFC 1035 */

bool reid_rpc_address_is_tcp(const char *address)
{
    return reid_str_starts(address, "tcp:");
}

static reid_status parse_unix(reid_rpc_address *address, const char *text, reid_error *err)
{
    const char *path = text + strlen("unix:");
    bool slashes = reid_str_starts(path, "//");
    if (slashes)
        path += 2;
    if (path[0] == '\0' || (slashes && path[0] != '/'))
        return reid_fail(err, REID_ERR_INVALID,
                         "cannot use address '%s': write it as unix:/path/to/socket", text);
    struct sockaddr_un ignored;
    REID_TRY(reid_rpc_sockaddr(path, &ignored, err));
    address->path = reid_xstrdup(path);
    return REID_OK;
}

/* Up to 65535, digits only; -1 otherwise. */
static long parse_port(const char *text)
{
    size_t length = strlen(text);
    if (length == 0 || length > 5 || strspn(text, "0123456789") != length)
        return -1;
    long port = strtol(text, NULL, 10);
    return port <= UINT16_MAX ? port : -1;
}

static bool is_host(const char *host, size_t length, bool bracketed)
{
    if (length == 0 || length > MAX_HOST_BYTES)
        return false;
    for (size_t i = 0; i < length; i++) {
        char c = host[i];
        bool word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!word && !strchr(bracketed ? ":.%-_" : ".-_", c))
            return false;
    }
    return true;
}

static reid_status parse_tcp(reid_rpc_address *address, const char *text, reid_error *err)
{
    const char *host = text + strlen("tcp:");
    bool bracketed = reid_str_starts(host, "//[");
    host += bracketed ? 3 : reid_str_starts(host, "//") ? 2 : 0;
    const char *end = strchr(host, bracketed ? ']' : ':');
    const char *colon = end && bracketed ? end + 1 : end;
    long port = colon && *colon == ':' ? parse_port(colon + 1) : -1;
    if (!reid_str_starts(text, "tcp://") || port < 0 ||
        !is_host(host, (size_t)(end - host), bracketed))
        return reid_fail(err, REID_ERR_INVALID,
                         "cannot use address '%s': write it as tcp://host:port", text);
    address->host = reid_xstrndup(host, (size_t)(end - host));
    address->port = (uint16_t)port;
    return REID_OK;
}

reid_status reid_rpc_address_init(reid_rpc_address *address, const char *text, reid_error *err)
{
    *address = (reid_rpc_address){0};
    if (reid_str_starts(text, "unix:"))
        return parse_unix(address, text, err);
    if (reid_rpc_address_is_tcp(text))
        return parse_tcp(address, text, err);
    return reid_fail(err, REID_ERR_INVALID,
                     "cannot use address '%s': only unix:/path/to/socket and tcp://host:port are "
                     "supported",
                     text);
}

void reid_rpc_address_fini(reid_rpc_address *address)
{
    free(address->path);
    free(address->host);
    *address = (reid_rpc_address){0};
}

reid_status reid_rpc_sockaddr(const char *path, struct sockaddr_un *ret_sockaddr, reid_error *err)
{
    size_t length = strlen(path);
    if (length == 0)
        return reid_fail(err, REID_ERR_INVALID, "the path of the socket is empty");
    if (length >= sizeof ret_sockaddr->sun_path)
        return reid_fail(
            err, REID_ERR_INVALID,
            "cannot use socket '%s': its path has %zu bytes, Unix sockets allow %zu; choose a "
            "shorter folder",
            path, length, sizeof ret_sockaddr->sun_path - 1);
    *ret_sockaddr = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(ret_sockaddr->sun_path, path, length + 1);
    return REID_OK;
}

void reid_rpc_endpoint_format(const struct sockaddr *address, char *buffer, size_t buffer_bytes)
{
    char text[INET6_ADDRSTRLEN] = "?";
    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)address;
        inet_ntop(AF_INET, &in->sin_addr, text, sizeof text);
        snprintf(buffer, buffer_bytes, "%s:%u", text, (unsigned)ntohs(in->sin_port));
        return;
    }
    if (address->sa_family != AF_INET6) {
        snprintf(buffer, buffer_bytes, "?");
        return;
    }
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)address;
    bool mapped = IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr);
    inet_ntop(mapped ? AF_INET : AF_INET6, &in6->sin6_addr.s6_addr[mapped ? 12 : 0], text,
              sizeof text);
    snprintf(buffer, buffer_bytes, mapped ? "%s:%u" : "[%s]:%u", text,
             (unsigned)ntohs(in6->sin6_port));
}
