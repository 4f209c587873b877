function after_epoch(t)
    t.lr = t.lr * options.gamma t:set{margin = 1, clip = 2.5} t:stop("why") t:checkpoint() t:skip_step() t:evaluate()
    local ok, why = pcall(t.set, t, {lr = 1/0}) assert(not ok, why)
end
function before_train(t) error({t.iter}) end
