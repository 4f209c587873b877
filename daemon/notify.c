#include "daemon/notify.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/alloc.h"

char *reidd_notify_take(void)
{
    const char *name = getenv("NOTIFY_SOCKET");
    char *taken = name && (*name == '/' || *name == '@') ? reid_xstrdup(name) : NULL;
    unsetenv("NOTIFY_SOCKET");
    return taken;
}

/* sd_notify(3): a datagram; '@' stands for the NUL of an abstract name. */
void reidd_notify(const char *name, const char *state)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t length = name ? strlen(name) : 0;
    if (length == 0 || length >= sizeof address.sun_path)
        return;
    memcpy(address.sun_path, name, length);
    if (*name == '@')
        address.sun_path[0] = '\0';
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return;
    (void)!sendto(fd, state, strlen(state), MSG_NOSIGNAL, (const struct sockaddr *)&address,
                  (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length));
    close(fd);
}
