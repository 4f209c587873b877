#include "backend/cpu/cpu_call.h"

reid_status cpu_dnnl_fail(dnnl_status_t status, const char *what, reid_error *err)
{
    if (status == dnnl_out_of_memory)
        return reid_fail(err, REID_ERR_EXHAUSTED, "oneDNN ran out of memory in %s", what);
    if (status == dnnl_unimplemented)
        return reid_fail(err, REID_ERR_UNSUPPORTED, "oneDNN has no implementation for %s", what);
    return reid_fail(err, REID_ERR_INTERNAL, "oneDNN status %d from %s", (int)status, what);
}

reid_status cpu_call_prepare(cpu_call *call, reid_error *err)
{
    DNNL_TRY(dnnl_primitive_create(&call->primitive, call->pd));
    return REID_OK;
}

reid_status cpu_call_arg(cpu_backend *backend, cpu_call *call, int arg,
                         const dnnl_memory_desc_t *md, void *memory, reid_error *err)
{
    REID_ASSERT(call->count < CPU_CALL_ARGS);
    dnnl_exec_arg_t *slot = &call->args[call->count];
    DNNL_TRY(dnnl_memory_create(&slot->memory, md, backend->engine, memory));
    slot->arg = arg;
    call->count++;
    return REID_OK;
}

reid_status cpu_call_run(const cpu_backend *backend, const cpu_call *call, reid_error *err)
{
    DNNL_TRY(dnnl_primitive_execute(call->primitive, backend->stream, call->count, call->args));
    return REID_OK;
}

void cpu_call_fini(cpu_call *call)
{
    for (int i = 0; i < call->count; i++)
        dnnl_memory_destroy(call->args[i].memory);
    if (call->primitive)
        dnnl_primitive_destroy(call->primitive);
    if (call->pd)
        dnnl_primitive_desc_destroy(call->pd);
    *call = (cpu_call){0};
}

const dnnl_memory_desc_t *cpu_call_md(const cpu_call *call, dnnl_query_t what)
{
    return dnnl_primitive_desc_query_md(call->pd, what, 0);
}

size_t cpu_call_scratch_bytes(const cpu_call *call)
{
    return call->pd ? dnnl_memory_desc_get_size(cpu_call_md(call, dnnl_query_scratchpad_md)) : 0;
}

const char *cpu_call_kernel(const cpu_call *call)
{
    const char *name = "-";
    if (call->pd)
        dnnl_primitive_desc_query(call->pd, dnnl_query_impl_info_str, 0, &name);
    return name;
}
