#include "daemon/exec/address.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

reid_status reidd_address_resolve(const char *host, char ret_address[REIDD_ADDRESS_BYTES],
                                  reid_error *err)
{
    const struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    int rc = getaddrinfo(host, NULL, &hints, &found);
    if (rc != 0)
        return reid_fail(err, REID_ERR_NOT_FOUND, "'%s' has no IPv4 address: %s", host,
                         gai_strerror(rc));
    const struct sockaddr_in *address = (const struct sockaddr_in *)(void *)found->ai_addr;
    bool written = inet_ntop(AF_INET, &address->sin_addr, ret_address, REIDD_ADDRESS_BYTES) != NULL;
    freeaddrinfo(found);
    if (!written)
        return reid_fail(err, REID_ERR_INTERNAL, "the address of '%s' cannot be written", host);
    return REID_OK;
}
