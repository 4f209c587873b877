state.n, state.x, state.t = 1, 0.5, {a = {1, "\0\xff"}, [2.5] = true}
function after_step(t)
    state.n = state.n + 1 state.t[state.n] = {-0.0, 0/0, 1/0, math.mininteger}
    for k, v in pairs(state) do state[k] = v end
    t.storage:put("loss", t.storage:get("loss") or math.random(3))
end
