#include "engine/hook.h"

#include <stdlib.h>

void reid_hook_free(reid_hook *hook)
{
    if (!hook)
        return;
    if (hook->impl->free)
        hook->impl->free(hook);
    else
        free(hook);
}
