-- Prints how long each iteration took.
--     reidctl hook add JOB print_time.lua

function after_step(trainer)
    local seconds, iter = trainer.storage:get("time")
    if seconds and iter == trainer.iter then -- the first few are not timed
        print(string.format("iteration %d took %.3f s", iter, seconds))
    end
end
