#include "engine/step.h"

void reid_step_free(reid_step *step)
{
    if (step)
        step->impl->free(step);
}
