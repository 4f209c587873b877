/* gRPC status codes and how they correspond to reid_status: one table. Thread-safe. */
#ifndef REID_RPC_CODE_H
#define REID_RPC_CODE_H

#include "base/status.h"

int reid_rpc_code_from_status(reid_status status); /* 0-16 */
reid_status reid_rpc_status_from_code(int code);   /* an unknown code gives INTERNAL */
const char *reid_rpc_code_name(int code); /* "INVALID_ARGUMENT"; "UNKNOWN" for an unknown code */

#endif
