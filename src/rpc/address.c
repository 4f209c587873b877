#include "rpc/address.h"

#include <string.h>
#include <sys/socket.h>

#include "base/alloc.h"
#include "base/str.h"

reid_status reid_rpc_address_parse(const char *address, char **ret_path, reid_error *err)
{
    if (!reid_str_starts(address, "unix:"))
        return reid_fail(err, REID_ERR_INVALID,
                         "cannot use address '%s': only unix:/path/to/socket is supported",
                         address);
    const char *path = address + 5;
    if (reid_str_starts(path, "//"))
        path += 2;
    if (path[0] == '\0' || (path != address + 5 && path[0] != '/'))
        return reid_fail(err, REID_ERR_INVALID,
                         "cannot use address '%s': write it as unix:/path/to/socket", address);
    struct sockaddr_un ignored;
    REID_TRY(reid_rpc_sockaddr(path, &ignored, err));
    *ret_path = reid_xstrdup(path);
    return REID_OK;
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
