/* The name as Microsoft's documentation spells it. */
#include "computenetworkdefs.h"
