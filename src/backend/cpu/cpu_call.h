/* A oneDNN primitive with its arguments bound: made once, run every step. Zero it, prepare, add
 * arguments, run, fini. */
#ifndef REID_BACKEND_CPU_CALL_H
#define REID_BACKEND_CPU_CALL_H

#include "backend/cpu/cpu.h"

#define CPU_CALL_ARGS 6

typedef struct cpu_call {
    dnnl_primitive_desc_t pd; /* owned; NULL: there is no such call */
    dnnl_primitive_t primitive;
    int count;
    dnnl_exec_arg_t args[CPU_CALL_ARGS]; /* memories are owned */
} cpu_call;

/* Compiles call->pd. */
reid_status cpu_call_prepare(cpu_call *call, reid_error *err);
reid_status cpu_call_arg(cpu_backend *backend, cpu_call *call, int arg,
                         const dnnl_memory_desc_t *md, void *memory, reid_error *err);
reid_status cpu_call_run(const cpu_backend *backend, const cpu_call *call, reid_error *err);
void cpu_call_fini(cpu_call *call);

const dnnl_memory_desc_t *cpu_call_md(const cpu_call *call, dnnl_query_t what);
size_t cpu_call_scratch_bytes(const cpu_call *call); /* 0 without a pd */
const char *
cpu_call_kernel(const cpu_call *call); /* name of the implementation, "-" without a pd */

#endif
