/* layout.h - the JSON that ctask puts around values, and finds again by its bytes where that saves
 * a parser. Writers and readers share it; what is laid out otherwise is read in full. Private to
 * this room. */
#ifndef WIRE_LAYOUT_H
#define WIRE_LAYOUT_H

/* A task's body: [args,kwargs, and that nothing is to follow. */
#define BODY_END ",{\"callbacks\":null,\"errbacks\":null,\"chain\":null,\"chord\":null}]"

/* A result: its state, its value, the rest, of which the last two may be missing, and }. */
#define REPLY_STATUS "{\"status\":\""
#define REPLY_RESULT "\",\"result\":"
#define REPLY_ID ",\"traceback\":null,\"children\":[],\"task_id\":"
#define REPLY_RUNTIME ",\"runtime\":"
#define REPLY_REDELIVERED ",\"redelivered\":true"

/* The result of a map: REPLY_STATUS and SUCCESS, notes, count, the same rest, the list and }. */
#define REPLY_ITEMS "\",\"items\":["
#define REPLY_COUNT "],\"count\":"
#define REPLY_LIST "\"result\":["

#endif
