"""The warm machine of `regatta up`: Ray and a zygote that outlive a command, and that the next commands use.

`keeper` is the process that owns both; `facts` decides whether a command may use them; `found` asks the keeper.
"""
