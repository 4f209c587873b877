local C = {} C.__index = C C.__add = function(a, b) return b end C.__len = function() return 2 end
local o = setmetatable({3, 1, 2}, C)
function after_step(t)
    local c <close> = setmetatable({}, {__close = function(...) state.n = select("#", ...) end})
    table.sort(o) table.insert(o, 1, 5) table.move(o, 1, 3, 2) o = o + table.pack(table.unpack(o, 1, 3))
    print(xpcall(table.concat, function(e) return e end, o, ",", 1, 2), table.remove(o), #o, utf8.len("\u{fc}x"))
    goto done ::done::
end
