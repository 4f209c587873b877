#include "base/protocol.h"

reid_status reid_protocol_agree_within(const char *peer, int its, int oldest, int newest,
                                       int *ret_agreed, reid_error *err)
{
    if (its < 0)
        return reid_fail(err, REID_ERR_INVALID, "%s tells the protocol %d, which cannot be", peer,
                         its);
    int told = its == 0 ? 1 : its;
    if (told < oldest)
        return reid_fail(err, REID_ERR_UNSUPPORTED,
                         "%s is too old: it speaks protocol %d, and this program %d to %d; upgrade "
                         "the older side",
                         peer, told, oldest, newest);
    *ret_agreed = told < newest ? told : newest;
    return REID_OK;
}

reid_status reid_protocol_agree(const char *peer, int its, int *ret_agreed, reid_error *err)
{
    return reid_protocol_agree_within(peer, its, REID_PROTOCOL_OLDEST, REID_PROTOCOL, ret_agreed,
                                      err);
}
