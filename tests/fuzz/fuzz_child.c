/* fuzz_child.c - what comes up from a child that may have been overwritten by a wild task: each
 * frame is taken whole or refused, and says nothing beyond its own bytes. */
#include "fuzz.h"

#include "wire/child.h"

static void posted_check(struct bytes posted)
{
    struct posted p;
    int more;
    while ((more = posted_next(&posted, &p)) == 1)
        must(p.exchange.n <= 255 && p.routing_key.n <= 255 && p.ensure.n <= 255);
    must(more == 0); /* done_read has seen all of it */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes stream = bytes_of(data, size), payload;
    enum child_frame_type type;
    while (child_frame_next(stream, 0, &type, &payload) == 1) {
        struct job j;
        struct posted p;
        struct done d;
        size_t whole = (size_t)(payload.p + payload.n - stream.p);
        must(whole <= stream.n && whole == child_frame_size(stream.p));
        switch (type) {
        case CHILD_JOB:
        case CHILD_BURY: (void)job_read(payload, &j); break;
        case CHILD_PUBLISH: (void)publish_read(payload, &p); break;
        case CHILD_DONE:
            if (done_read(payload, 0, &d)) posted_check(d.posted);
            break;
        case CHILD_LEAVE:
        case CHILD_OUTPUT:
        case CHILD_RESUME: break;
        }
        stream = bytes_of(stream.p + whole, stream.n - whole);
    }
    return 0;
}
