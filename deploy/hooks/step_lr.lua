-- Multiplies the learning rate by gamma before each of the given iterations.
--     reidctl hook add JOB step_lr.lua milestones=4000,9000 gamma=0.1

local gamma = assert(tonumber(options.gamma or 0.1), "gamma must be a number")
local milestones = {}
for text in string.gmatch(options.milestones or "", "[^,%s]+") do
    local iter = math.tointeger(tonumber(text))
    milestones[assert(iter, "milestones are iterations, such as 4000,9000")] = true
end
assert(next(milestones), "the option milestones is needed, such as milestones=4000,9000")

function before_step(trainer)
    if milestones[trainer.iter] then
        trainer.lr = trainer.lr * gamma
    end
end
