#include "rpc/peer.h"

#include <sys/socket.h>

bool reid_rpc_peer_read(reid_rpc_peer *ret_peer, int fd)
{
    struct ucred who;
    socklen_t size = sizeof who;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) != 0)
        return false;
    *ret_peer = (reid_rpc_peer){.uid = who.uid, .gid = who.gid, .pid = who.pid};
    return true;
}
