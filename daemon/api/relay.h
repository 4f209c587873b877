/* Links of a member's ranks, on their way to the head (relay.c). Loop thread only. */
#ifndef REIDD_API_RELAY_H
#define REIDD_API_RELAY_H

#include "daemon/api/api.h"

typedef struct reidd_relay reidd_relay;

/* UNAVAILABLE: the head is not there. The owner of the call calls _take with each of its messages,
 * _drain when it has room again, and _close, once, when it is over. */
reid_status reidd_relay_open(reidd_api *api, reid_rpc_call *call, reidd_relay **ret_relay,
                             reid_error *err);
void reidd_relay_take(reidd_relay *relay, const ProtobufCMessage *message);
void reidd_relay_drain(reidd_relay *relay);
void reidd_relay_close(reidd_relay *relay);

#endif
