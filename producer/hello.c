#include <ctask.h>
#include <stdio.h>

int main(void)
{
    AsyncResult *r = task_delay("is_prime", 112272535095293);
    bool prime = false;
    int rc = result_get(r, 10.0, &prime);
    if (rc == CTASK_OK)
        puts(prime ? "prime" : "composite");
    else
        fprintf(stderr, "%s\n", result_error(r)->text);
    result_forget(r);
    return rc != CTASK_OK;
}
