/* ids.c - see ids.h. Random bits come from the kernel at each call, so a fork shares none. */
#include "base/ids.h"

#include <uuid/uuid.h>

void id_new(char out[ID_SIZE])
{
    uuid_t id;
    uuid_generate_random(id);
    uuid_unparse_lower(id, out);
}
