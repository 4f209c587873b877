-- After a step whose loss was far above the usual, or not finite, drops the batch that follows: one bad step is not built on
-- at once.
--     reidctl hook add JOB skip_spikes.lua factor=3
-- Further options: metric=total_loss, warmup=20 (iterations without interference).

local metric = options.metric or "total_loss"
local factor = assert(tonumber(options.factor or 3), "factor must be a number")
local warmup = assert(tonumber(options.warmup or 20), "warmup is a number of iterations")

state.skipped = 0

function before_step(trainer)
    local loss, iter = trainer.storage:get(metric)
    if not loss or iter ~= trainer.iter - 1 or trainer.iter < warmup then
        return
    end
    local usual = trainer.storage:smoothed(metric)
    if loss ~= loss or loss > factor * usual then
        trainer:skip_step()
        state.skipped = state.skipped + 1
        trainer.storage:put("skipped_steps", state.skipped)
        print(string.format("%s was %g, usually it is %g: the batch of iteration %d is dropped", metric, loss, usual, trainer.iter))
    end
end
