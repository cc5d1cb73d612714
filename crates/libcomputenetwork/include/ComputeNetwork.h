/* The name as Microsoft's documentation spells it. */
#include "computenetwork.h"
