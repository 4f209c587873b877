/* A library that a module needs and the loader does not find. */
int fake_module_needed(void);

int fake_module_needed(void)
{
    return 0;
}
