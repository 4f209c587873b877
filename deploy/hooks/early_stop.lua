-- Stops the training when a metric has not become better for some epochs.
--     reidctl hook add JOB early_stop.lua metric=total_loss patience=5
-- Further options: mode=min or max (min), min_delta=0.

local metric = options.metric or "total_loss"
local patience = assert(math.tointeger(tonumber(options.patience or 5)), "patience is a number of epochs")
local min_delta = assert(tonumber(options.min_delta or 0), "min_delta must be a number")
local mode = options.mode or "min"
assert(mode == "min" or mode == "max", "mode is min or max")
local sign = mode == "min" and 1 or -1

state.waited = 0 -- epochs; saved in checkpoints, as is state.best

function after_epoch(trainer)
    local value = trainer.storage:smoothed(metric)
    if not value then
        return -- nothing was measured yet
    end
    if not state.best or sign * value < sign * state.best - min_delta then
        state.best, state.waited = value, 0
        return
    end
    state.waited = state.waited + 1
    if state.waited >= patience then
        trainer:stop(string.format("%s has not been better than %g for %d epochs", metric, state.best, state.waited))
    end
end
