"""A reward of your own, in a process of your own: scores 1 when the completion ends with the row's solution.

Run it with `python3 reward_service.py`, then name it in the job file:
    "reward_funcs": [{"name": "service", "address": "127.0.0.1:50061"}]
"""
from concurrent import futures
import json

import grpc
from fulcrum.v1 import reward_pb2, reward_pb2_grpc


class EndsWithSolution(reward_pb2_grpc.RewardServiceServicer):
    def Score(self, request, context):
        response = reward_pb2.ScoreResponse()
        for item in request.items:
            solution = json.loads(item.columns_json).get("solution")
            if solution is None:
                response.results.add(verdict=reward_pb2.VERDICT_BAD_REFERENCE, reason="the row has no solution")
            else:
                score = float(item.completion.strip().endswith(str(solution)))
                response.results.add(score=score, verdict=reward_pb2.VERDICT_SCORED)
        return response


server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
reward_pb2_grpc.add_RewardServiceServicer_to_server(EndsWithSolution(), server)
server.add_insecure_port("127.0.0.1:50061")
server.start()
server.wait_for_termination()
