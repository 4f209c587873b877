/* Between clients that are hooks (attach.c) and rank 0 of their job (link.c): events to the one,
 * verdicts to the other, each passed on in the turn of the loop in which it comes. Loop thread
 * only. */
#ifndef REIDD_API_ROUTE_H
#define REIDD_API_ROUTE_H

#include "daemon/api/api.h"
#include "reid/v1/link.pb-c.h"

/* ---- link.c ---- */

/* OK when rank 0 has it, or is not linked now (it knows that everybody is lost then). EXHAUSTED:
 * rank 0 does not read. */
reid_status reidd_route_verdict(reidd_api *api, const char *job_id, int64_t hook,
                                const Reid__V1__HookVerdict *verdict);
/* Nobody answers for this hook any more; told as soon as rank 0 reads. */
void reidd_route_gone(reidd_api *api, const char *job_id, int64_t hook, const char *sentence);

/* ---- attach.c ---- */

void reidd_route_event(reidd_api *api, const char *job_id, const Reid__V1__LinkHookEvent *event);
/* Rank 0 has said hello on a new link: for clients of the former one nobody sends any more. */
void reidd_route_relinked(reidd_api *api, const char *job_id);
/* Tells rank 0 of remote hooks in the list that no client stands for. */
void reidd_route_check(reidd_api *api, const char *job_id);
/* Events that the client of this hook was too slow for; 0 when there is none. */
int64_t reidd_route_missed(const reidd_api *api, const char *job_id, int64_t hook);

/* HookService/Attach. */
void reidd_api_attach(reid_rpc_call *call, const ProtobufCMessage *message, void *service);
void reidd_api_attach_half_close(reid_rpc_call *call, void *service);

#endif
