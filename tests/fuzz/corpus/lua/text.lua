function before_step(t)
    local s = ("a(b) = %d%s"):rep(3, ",")
    s = s:gsub("(%w)%((.-)%)", "%2%1"):upper() .. tostring(s:find("%f[%a]", 2)) .. s:match("[^%d-z]*()")
    for k in s:gmatch("%b()") do s = s .. k end
    s:gsub(".", {a = 1}) s:gsub("^.", string.byte) print(s:format(1, "x"))
end
